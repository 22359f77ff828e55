"""Randomness that belongs to the sample, not to its place in a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from torpor.core.batches import Samples


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
