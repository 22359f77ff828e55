"""How networks run fast on a CPU, with the same results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

CACHE = 1 << 21
"""Bytes of output that a CPU computes at a time: such feature maps stay in its cache, and the allocator keeps them."""


def fold_batch_norm(stage: nn.Module) -> nn.Module:
    """Return a copy of ``stage`` for inference whose convolutions and linear layers normalize, too.

    >>> stage = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    >>> images = torch.rand(1, 1, 8, 8)
    >>> torch.allclose(fold_batch_norm(stage)(images), stage(images), atol=1e-6)
    True
    """
    from torch.fx.experimental.optimization import fuse  # takes a second to import

    return fuse(stage.eval())


def store_channels_last(blocks: Sequence[tuple[nn.Module, nn.Module]], inputs: Tensor) -> None:
    """Store the kernels of convolutions channels last, which CPUs convolve faster; values stay as they are.

    Feature maps follow the kernels. A network that views them as if they were channels first fails on ``inputs``; its
    kernels are then put back.

    Args:
        blocks: stages and their heads, changed in place.
        inputs: a few valid samples.

    >>> conv = nn.Conv2d(2, 2, 3)
    >>> store_channels_last([(conv, nn.Flatten())], torch.zeros(1, 2, 4, 4))
    >>> conv.weight.is_contiguous(memory_format=torch.channels_last)
    True
    """
    parts = (part for block in blocks for part in block)
    kernels = [module.weight for part in parts for module in part.modules() if type(module) is nn.Conv2d]

    def store(layout: torch.memory_format) -> None:
        for kernel in kernels:
            kernel.data = kernel.data.contiguous(memory_format=layout)

    try:
        store(torch.channels_last)
        with torch.no_grad():
            for stage, head in blocks:
                inputs = stage(inputs)
                head(inputs)
    except RuntimeError:
        store(torch.contiguous_format)


def in_pieces(part: nn.Module, inputs: Tensor, sample_bytes: int) -> Tensor:
    """Return ``part(inputs)``; on a CPU, of about as many samples at a time as its cache holds.

    For inference; a backward pass needs all feature maps again anyway, and is faster whole.

    Args:
        part: maps each sample on its own.
        inputs: the samples ``[B, ...]``.
        sample_bytes: size of one sample's output.

    >>> in_pieces(nn.ReLU(), torch.tensor([-1.0, 2.0, 3.0]), sample_bytes=CACHE)
    tensor([0., 2., 3.])
    """
    pieces = math.ceil(len(inputs) * sample_bytes / CACHE) if inputs.device.type == "cpu" else 1
    if pieces <= 1:
        whole: Tensor = part(inputs)
        return whole
    return torch.cat([part(piece) for piece in inputs.chunk(pieces)])
