"""Attention among the tokens that are there: rows of many samples, packed one after the other, no two alike in number.

Linear layers take packed rows as they are. Attention takes samples of about the same number of tokens together, so
that little is computed for nothing: none with a single sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

TILE = 16
"""Kernels of attention are fastest where the number of tokens is a multiple of this, or one more."""


class Group(NamedTuple):
    """A few samples' rows, padded to the same number.

    Attributes:
        rows: numbers of packed rows, ``[B, N]``; the sample's first where ``there`` is False.
        there: which of them are rows of the sample, bool ``[B, N]``; None if all.
    """

    rows: Tensor
    there: Tensor | None

    def filled(self, beyond: int) -> Tensor:
        """Return the numbers of the rows, ``beyond`` where there are none, ``[B * N]``."""
        return (self.rows if self.there is None else self.rows.where(self.there, beyond)).flatten()


class Packing:
    """Where the rows of each sample are among those of all, in the order in which samples attend together.

    Args:
        counts: rows of each sample, int64 ``[B]``.
        order: of the samples; by default those side by side that are padded alike.
    """

    def __init__(self, counts: Tensor, order: list[int] | None = None) -> None:
        sizes: list[int] = counts.tolist()
        self.order = sorted(range(len(sizes)), key=lambda sample: _padded(sizes[sample])) if order is None else order
        self._sizes = [sizes[sample] for sample in self.order]
        these = torch.tensor(self.order, device=counts.device)
        own, first = counts[these, None], (counts.cumsum(0) - counts)[these, None]
        places = torch.arange(_padded(max(sizes)), device=counts.device)
        self._there = places < own
        self._rows = first + places * self._there

    def together(self) -> Iterator[slice]:
        """Yield which samples, by their place in :attr:`order`, attend together: those that are padded alike.

        >>> packing = Packing(torch.tensor([5, 0, 18, 17]))
        >>> [packing.order[samples] for samples in packing.together()]
        [[0, 3], [2]]
        """
        start = 0
        for width, same in groupby(self._sizes, _padded):
            end = start + len(list(same))
            if width:
                yield slice(start, end)
            start = end

    def group(self, samples: slice) -> Group:
        """Return the rows of some samples, padded alike whatever others are in the batch; one alone as it is."""
        most = max(self._sizes[samples])
        width = most if len(self.order) == 1 else _padded(most)
        filled = min(self._sizes[samples]) == width
        return Group(self._rows[samples, :width], None if filled else self._there[samples, :width])


def _padded(size: int) -> int:
    """Return to how many tokens a sample of so many is padded: the class token and whole tiles of patches.

    >>> [_padded(size) for size in (0, 1, 2, 17, 18)]
    [0, 1, 17, 17, 33]
    """
    return 1 - (1 - size) // TILE * TILE if size else 0


def attend(query: Tensor, keyed: Tensor, asked: Tensor, counts: Tensor) -> Tensor:
    """Return what each query finds among its own sample's tokens, ``[Q, H, D]``.

    Args:
        query: packed, ``[Q, H, D]``.
        keyed: keys and values, packed, ``[T, 2, H, D]``.
        asked: queries of each sample, int64 ``[B]``; none where it has no tokens.
        counts: tokens of each sample, int64 ``[B]``.
    """
    most = int(counts.max())
    if len(query) == len(keyed) == len(counts) * most and (len(counts) == 1 or most == _padded(most)):
        each = (len(counts), most)  # as many of each, so that there is nothing to gather
        parts = [part.unflatten(0, each).transpose(1, 2) for part in (query, *keyed.unbind(1))]
        return scaled_dot_product_attention(*parts).transpose(1, 2).flatten(0, 1)
    mixed = query.new_empty(len(query) + 1, *query.shape[1:])  # the last row takes what padding finds
    tokens = Packing(counts)
    queries = tokens if asked is counts else Packing(asked, tokens.order)
    for samples in tokens.together():
        group = tokens.group(samples)
        asking = group if queries is tokens else queries.group(samples)
        keys, values = gathered(keyed, group.rows).transpose(1, 3).unbind(2)
        mask = None if group.there is None else group.there[:, None, None]
        found = scaled_dot_product_attention(gathered(query, asking.rows).transpose(1, 2), keys, values, mask)
        mixed.index_copy_(0, asking.filled(len(query)), found.transpose(1, 2).flatten(0, 1))
    return mixed[:-1]


def kept_rows(kept: Tensor, *packed: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each of ``packed`` ``[T, ...]`` of which ``kept``, bool ``[T]``, is True."""
    numbers = kept.nonzero().squeeze(1)
    return tuple(each.index_select(0, numbers) for each in packed)  # twice as fast as indexing


def gathered(part: Tensor, rows: Tensor) -> Tensor:
    """Return the packed rows of a group, ``[B, N, ...]``, by their numbers ``[B, N]``."""
    found = part.flatten(1).index_select(0, rows.flatten())
    return found.view(*rows.shape, *part.shape[1:])


def first_scores(query: Tensor, key: Tensor, counts: Tensor) -> Tensor:
    """Return the score of each key by one query of its sample, ``[T, H]``.

    Args:
        query: one of each sample, ``[B, H, D]``.
        key: packed, ``[T, H, D]``.
        counts: tokens of each sample, int64 ``[B]``.
    """
    scores = key.new_empty(len(key) + 1, key.shape[1])  # the last row takes those of padding
    scaled, tokens = (query * query.shape[-1] ** -0.5).unsqueeze(2), Packing(counts)
    for samples in tokens.together():
        group = tokens.group(samples)
        found = scaled[tokens.order[samples]] @ gathered(key, group.rows).permute(0, 2, 3, 1)
        scores.index_copy_(0, group.filled(len(key)), found.squeeze(2).transpose(1, 2).flatten(0, 1))
    return scores[:-1]
