"""Attention among the tokens that are there: rows of many samples, packed one after the other, no two alike in number.

Linear layers take packed rows as they are. Attention takes samples of about the same number of tokens together, so
that little is computed for nothing: none with a single sample.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

TILE = 16
"""Kernels of attention are fastest where a number of tokens is a multiple of this."""


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
    """Where the rows of each sample are among those of all.

    Args:
        counts: rows of each sample, int64 ``[B]``.
    """

    def __init__(self, counts: Tensor) -> None:
        self._sizes: list[int] = counts.tolist()
        places = torch.arange(_tiles(max(self._sizes)) * TILE, device=counts.device)
        self._there = places < counts[:, None]
        self._rows = (counts.cumsum(0) - counts)[:, None] + places * self._there

    def together(self) -> list[list[int]]:
        """Return numbers of samples that attend together: those whose rows fill as many tiles.

        >>> Packing(torch.tensor([5, 0, 17, 16])).together()
        [[0, 3], [2]]
        """
        by_tiles: dict[int, list[int]] = {}
        for sample, size in enumerate(self._sizes):
            by_tiles.setdefault(_tiles(size), []).append(sample)
        return [by_tiles[tiles] for tiles in sorted(by_tiles) if tiles]

    def group(self, samples: list[int]) -> Group:
        """Return the rows of some samples, padded to whole tiles where their numbers differ."""
        sizes = {self._sizes[sample] for sample in samples}
        width = max(sizes) if len(sizes) == 1 else _tiles(max(sizes)) * TILE
        these = torch.tensor(samples, device=self._rows.device)
        rows = self._rows.index_select(0, these)[:, :width]
        return Group(rows, None if len(sizes) == 1 else self._there.index_select(0, these)[:, :width])


def _tiles(size: int) -> int:
    return -(-size // TILE)


def attend(query: Tensor, keyed: Tensor, asked: Tensor, counts: Tensor) -> Tensor:
    """Return what each query finds among its own sample's tokens, ``[Q, H, D]``.

    Args:
        query: packed, ``[Q, H, D]``.
        keyed: keys and values, packed, ``[T, 2, H, D]``.
        asked: queries of each sample, int64 ``[B]``; none where it has no tokens.
        counts: tokens of each sample, int64 ``[B]``.
    """
    if len(query) == len(keyed) == len(counts) * int(counts[0]) and bool((counts == counts[0]).all()):
        each = (len(counts), int(counts[0]))  # as many of each, so that there is nothing to gather
        parts = [part.unflatten(0, each).transpose(1, 2) for part in (query, *keyed.unbind(1))]
        return scaled_dot_product_attention(*parts).transpose(1, 2).flatten(0, 1)
    mixed = query.new_empty(len(query) + 1, *query.shape[1:])  # the last row takes what padding finds
    tokens = Packing(counts)
    queries = tokens if asked is counts else Packing(asked)
    for samples in tokens.together():
        group = tokens.group(samples)
        asking = group if queries is tokens else queries.group(samples)
        keys, values = gathered(keyed, group.rows).transpose(1, 3).unbind(2)
        mask = None if group.there is None else group.there[:, None, None]
        found = scaled_dot_product_attention(gathered(query, asking.rows).transpose(1, 2), keys, values, mask)
        mixed.index_copy_(0, asking.filled(len(query)), found.transpose(1, 2).flatten(0, 1))
    return mixed[:-1]


def kept_rows(packed: Tensor, kept: Tensor) -> Tensor:
    """Return the packed rows ``[T, ...]`` of which ``kept``, bool ``[T]``, is True."""
    return packed.index_select(0, kept.nonzero().squeeze(1))  # twice as fast as indexing


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
        found = (scaled[samples] @ gathered(key, group.rows).permute(0, 2, 3, 1)).squeeze(2).transpose(1, 2)
        scores.index_copy_(0, group.filled(len(key)), found.flatten(0, 1))
    return scores[:-1]
