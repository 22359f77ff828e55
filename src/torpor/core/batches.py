"""Batches of inputs or outputs: tensors where samples have one shape, tuples where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Samples = Any
"""One entry per sample: a tensor ``[B, ...]``, or a tuple such as one of texts."""


def take(samples: Samples, rows: Tensor) -> Samples:
    """Return the samples at ``rows``: indices ``[N]`` or a mask, bool ``[B]``.

    >>> take(("a", "b", "c"), torch.tensor([True, False, True]))
    ('a', 'c')
    """
    if isinstance(samples, Tensor):
        return samples[rows.to(samples.device)]
    chosen = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
    return tuple(samples[row] for row in chosen.tolist())


def choose(mask: Tensor, chosen: Samples, other: Samples) -> Samples:
    """Return ``chosen`` where ``mask`` (bool ``[B]``), else ``other``.

    >>> choose(torch.tensor([True, False]), ("a", "b"), ("c", "d"))
    ('a', 'd')
    """
    if isinstance(chosen, Tensor):
        return torch.where(mask.to(chosen.device).view(-1, *[1] * (chosen.ndim - 1)), chosen, other)
    pairs = zip(mask.tolist(), chosen, other, strict=True)
    return tuple(one if there else another for there, one, another in pairs)


def join(parts: Sequence[Samples]) -> Samples:
    """Concatenate batches of one kind.

    >>> join([("a",), ("b", "c")])
    ('a', 'b', 'c')
    """
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return tuple(sample for part in parts for sample in part)
