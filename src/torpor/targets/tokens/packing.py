"""Attention among the tokens that are there: rows of many samples, packed one after the other, no two alike in number.

Linear layers take packed rows as they are. Attention takes samples of about the same number of tokens together, so
that little is computed for nothing: none with a single sample.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

TOGETHER = 16
"""Samples that attend at a time where their numbers of tokens differ."""


class Group(NamedTuple):
    """A few samples' rows, padded to the longest.

    Attributes:
        rows: numbers of packed rows, ``[B, N]``; any where ``there`` is False.
        there: which of them are rows of the sample, bool ``[B, N]``; None if all.
    """

    rows: Tensor
    there: Tensor | None


def grouped(counts: Tensor) -> list[Tensor]:
    """Return numbers of samples that attend together, those with as many tokens or about as many.

    Args:
        counts: tokens of each sample, int64 ``[B]``.

    >>> [group.tolist() for group in grouped(torch.tensor([5, 0, 5]))]
    [[0, 2]]
    """
    present = counts.nonzero().flatten()
    own = counts[present]
    if len(own) and (own == own[0]).all():
        return [present]
    return list(present[own.argsort(stable=True)].split(TOGETHER)) if len(own) else []


def padded(counts: Tensor, samples: Tensor) -> Group:
    """Return the rows of some ``samples`` out of those of all, which have ``counts`` tokens each."""
    starts, own = (counts.cumsum(0) - counts)[samples], counts[samples]
    longest = int(own.max())
    places = torch.arange(longest, device=counts.device)
    there = places < own[:, None]
    if bool(there.all()):
        return Group(starts[:, None] + places, None)
    return Group(starts[:, None] + places * there, there)


def attend(query: Tensor, key: Tensor, value: Tensor, asked: Tensor, counts: Tensor) -> Tensor:
    """Return what each query finds among its own sample's tokens, ``[Q, H, D]``.

    Args:
        query: packed, ``[Q, H, D]``.
        key: packed, ``[T, H, D]``.
        value: packed, ``[T, H, D]``.
        asked: queries of each sample, int64 ``[B]``; none where it has no tokens.
        counts: tokens of each sample, int64 ``[B]``.
    """
    if len(query) == len(key) and len(key) == len(counts) * int(counts[0]) and bool((counts == counts[0]).all()):
        each = (len(counts), int(counts[0]))  # as many of each, so that there is nothing to gather
        parts = [part.unflatten(0, each).transpose(1, 2) for part in (query, key, value)]
        return scaled_dot_product_attention(*parts).transpose(1, 2).flatten(0, 1)
    mixed = torch.empty_like(query)
    for samples in grouped(counts):
        looking, tokens = padded(asked, samples), padded(counts, samples)
        found = scaled_dot_product_attention(
            gathered(query, looking.rows),
            gathered(key, tokens.rows),
            gathered(value, tokens.rows),
            None if tokens.there is None else tokens.there[:, None, None],
        )
        found, places = found.transpose(1, 2).flatten(0, 1), looking.rows.flatten()
        if looking.there is not None:
            kept = looking.there.flatten().nonzero().squeeze(1)
            found, places = found.index_select(0, kept), places[kept]
        mixed.index_copy_(0, places, found)
    return mixed


def gathered(part: Tensor, rows: Tensor) -> Tensor:
    """Return packed rows ``[T, H, D]`` as each head of a group sees them, ``[B, H, N, D]``, by numbers ``[B, N]``."""
    found = part.flatten(1).index_select(0, rows.flatten())  # twice as fast as indexing
    return found.view(*rows.shape, *part.shape[1:]).transpose(1, 2)


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
        found = (scaled[samples] @ gathered(key, tokens.rows).mT).squeeze(2).transpose(1, 2)
        if tokens.there is None:
            scores[tokens.rows.flatten()] = found.flatten(0, 1)
        else:
            scores[tokens.rows[tokens.there]] = found[tokens.there]
    return scores
