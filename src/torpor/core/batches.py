"""Batches of inputs or outputs, and randomness that belongs to the sample, not to its place in a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
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


def sample_generators(inputs: Samples, seed: int, salt: str) -> list[torch.Generator]:
    """Return one CPU generator per sample, seeded by the sample's own content, ``seed`` and ``salt``.

    An attack that draws from them treats a sample alike in any batch, so ``attack(batch)`` equals the concatenation
    of ``attack(single)``.

    >>> a, b = torch.zeros(1, 2), torch.ones(1, 2)
    >>> both = sample_generators(torch.cat([a, b]), 0, "noise")
    >>> alone = sample_generators(b, 0, "noise")
    >>> both[1].initial_seed() == alone[0].initial_seed() != both[0].initial_seed()
    True
    """
    if isinstance(inputs, Tensor):
        contents = [row.tobytes() for row in inputs.detach().to("cpu", torch.float32).flatten(1).contiguous().numpy()]
    else:
        contents = [text.encode() for text in inputs]
    prefix = f"{seed}/{salt}/".encode()
    generators = []
    for content in contents:
        digest = hashlib.blake2b(prefix + content, digest_size=8).digest()
        generators.append(torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1))
    return generators


def draw(generators: list[torch.Generator], sampler: Callable[[torch.Generator], Tensor], like: Tensor) -> Tensor:
    """Stack one draw per generator, on the device and in the type of ``like``.

    >>> draw([torch.Generator().manual_seed(0)], lambda g: torch.rand(3, generator=g), torch.zeros(1)).shape
    torch.Size([1, 3])
    """
    return torch.stack([sampler(generator) for generator in generators]).to(like)


def redo_alone(parts: Sequence[Any], gap: Tensor, tie: float, run: Callable[[int], Sequence[Any]]) -> None:
    """Replace, in place, what a batch made of samples that are close to a decision by what each makes alone.

    Batched arithmetic may round differently, so that neighbors would decide for such a sample.

    Args:
        parts: what the batch made, tensors ``[B, ...]`` or lists.
        gap: each sample's least distance to a decision, ``[B]``.
        tie: distance below which a sample is run alone.
        run: maps the number of a sample to the same parts of it alone, one entry each.

    >>> said = ["left", "right"]
    >>> redo_alone([said], torch.tensor([0.5, 1e-9]), 1e-5, lambda row: [[f"sample {row} alone"]])
    >>> said
    ['left', 'sample 1 alone']
    """
    if len(gap) > 1:
        for row in (gap < tie).nonzero().flatten().tolist():
            for part, own in zip(parts, run(row), strict=True):
                part[row] = own[0]
