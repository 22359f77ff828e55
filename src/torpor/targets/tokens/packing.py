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
        rows: numbers of packed rows, ``[B, N]``; any of the sample's own where ``there`` is False.
        there: which of them are rows of the sample, bool ``[B, N]``; None if all.
    """

    rows: Tensor
    there: Tensor | None


def grouped(counts: Tensor) -> list[Tensor]:
    """Return numbers of samples that attend together: those whose tokens fill as many tiles.

    Args:
        counts: tokens of each sample, int64 ``[B]``.

    >>> [group.tolist() for group in grouped(torch.tensor([5, 0, 17, 16]))]
    [[0, 3], [2]]
    """
    tiles = -(-counts // TILE)
    return [(tiles == filled).nonzero().flatten() for filled in sorted({*tiles.tolist()}) if filled]


def padded(counts: Tensor, samples: Tensor) -> Group:
    """Return the rows of some ``samples`` out of those of all, which have ``counts`` tokens each.

    Where their numbers differ, they are padded to whole tiles.
    """
    starts, own = (counts.cumsum(0) - counts)[samples], counts[samples]
    least, longest = (int(end) for end in own.aminmax())
    if least == longest:
        return Group(starts[:, None] + torch.arange(longest, device=counts.device), None)
    places = torch.arange(-(-longest // TILE) * TILE, device=counts.device)
    there = places < own[:, None]
    return Group(starts[:, None] + places * there, there)


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
    for samples in grouped(counts):
        tokens = padded(counts, samples)
        looking = tokens if asked is counts else padded(asked, samples)
        asks = gathered(query, looking.rows).transpose(1, 2)
        keys, values = gathered(keyed, tokens.rows).transpose(1, 3).unbind(2)
        mask = None if tokens.there is None else tokens.there[:, None, None]
        found = scaled_dot_product_attention(asks, keys, values, mask)
        rows = looking.rows if looking.there is None else looking.rows.where(looking.there, len(query))
        mixed.index_copy_(0, rows.flatten(), found.transpose(1, 2).flatten(0, 1))
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
    scores = torch.empty_like(key[..., 0])
    scaled = (query * query.shape[-1] ** -0.5).unsqueeze(2)
    for samples in grouped(counts):
        tokens = padded(counts, samples)
        found = (scaled[samples] @ gathered(key, tokens.rows).permute(0, 2, 3, 1)).squeeze(2).transpose(1, 2)
        if tokens.there is None:
            scores[tokens.rows.flatten()] = found.flatten(0, 1)
        else:
            scores[tokens.rows[tokens.there]] = found[tokens.there]
    return scores
