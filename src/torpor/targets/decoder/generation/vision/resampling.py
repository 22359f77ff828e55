"""Pillow's resizing of 8-bit images to the last bit, with gradients: what PIL processors of transformers do first."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from torpor.core.errors import UsageError

BITS = 22
"""Of the fixed-point numbers that Pillow weights 8-bit pixels with."""
TRIES = 16
"""Images that are tried at most to see which side Pillow resizes first."""


def _triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(x * math.pi) / (x * math.pi)


FILTERS: dict[int, tuple[Callable[[float], float], float]] = {
    1: (_lanczos, 3.0),
    2: (_triangle, 1.0),
    3: (_cubic, 2.0),
}
"""By Pillow's number: the filter, and how far it reaches."""


@cache
def weights(before: int, after: int, number: int) -> Tensor:
    """Return Pillow's weights of ``before`` pixels in each of ``after`` ones, float64 ``[after, before]``.

    Args:
        before: pixels of a side.
        after: pixels of the resized side.
        number: of the filter, as Pillow counts them: 1 Lanczos, 2 bilinear, 3 bicubic.

    Raises:
        UsageError: if the filter is another one.

    >>> weights(4, 2, 2).mul(2**BITS).round().int().tolist()[0]
    [1797559, 1797559, 599186, 0]
    """
    if number not in FILTERS:
        raise UsageError(
            f"expected Lanczos, bilinear or bicubic resizing (1, 2 or 3), got resample={number}; change it"
        )
    shape, reach = FILTERS[number]
    scale = before / after
    wide = max(scale, 1.0)
    support = reach * wide
    table = torch.zeros(after, before, dtype=torch.float64)
    for place in range(after):
        center = (place + 0.5) * scale
        first, last = max(0, int(center - support + 0.5)), min(before, int(center + support + 0.5))
        row = [shape((x - center + 0.5) * (1 / wide)) for x in range(first, last)]
        total = sum(row)
        fixed = [int(math.copysign(0.5, one) + one / total * 2**BITS) for one in row]
        table[place, first:last] = torch.tensor(fixed, dtype=torch.float64) / 2**BITS
    return table


def rounded(values: Tensor) -> Tensor:
    """Round halves up and clip to levels of 8 bits, as Pillow does; the gradient passes where nothing is clipped."""
    smooth = values.clamp(0, 255)
    return smooth + ((values + 0.5).floor().clamp(0, 255) - smooth).detach()


def resized(levels: Tensor, size: tuple[int, int], number: int) -> Tensor:
    """Resize images ``[..., H, W]`` of whole levels from 0 to 255 as Pillow does.

    Args:
        levels: of the pixels, float64.
        size: height and width of the result.
        number: of the filter, see :func:`weights`.

    >>> resized(torch.tensor([[0.0, 255.0]], dtype=torch.float64), (1, 4), 3).tolist()
    [[0.0, 53.0, 202.0, 255.0]]
    """
    before = (levels.shape[-2], levels.shape[-1])
    both = before[0] != size[0] and before[1] != size[1]
    return _passed(levels, size, number, rows_first=both and _rows_first(before, size, number))


def _passed(levels: Tensor, size: tuple[int, int], number: int, *, rows_first: bool) -> Tensor:
    for side in (0, 1) if rows_first else (1, 0):
        count = levels.shape[-2 + side]
        if count != size[side]:
            table = weights(count, size[side], number).to(levels.device)
            levels = rounded(levels @ table.T if side else table @ levels)
    return levels


@cache
def _rows_first(before: tuple[int, int], after: tuple[int, int], number: int) -> bool:
    """Tell whether the installed Pillow resizes rows before columns for these sizes; versions differ."""
    from PIL import Image

    for seed in range(TRIES):
        noise = torch.randint(0, 256, (*before, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        done = Image.fromarray(noise.numpy()).resize((after[1], after[0]), resample=number)
        wanted = torch.from_numpy(np.array(done)).permute(2, 0, 1).double()
        levels = noise.permute(2, 0, 1).double()
        rows, columns = (torch.equal(_passed(levels, after, number, rows_first=one), wanted) for one in (True, False))
        if rows != columns:
            return rows
    return False
