"""JPEG as Pillow codes it, and a differentiable copy of what it does to pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

BLOCK = 8
"""Pixels along the side of what is coded together."""
BLOCK_FLOPS = 2 * 2 * BLOCK**3 * 2 + 3 * BLOCK**2
COLORS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Luma and the two chromas of red, green and blue (JFIF 1.02)."""


def round_trip(images: Tensor, qualities: Sequence[int]) -> Tensor:
    """Return images ``[B, C, H, W]`` as they come back from a JPEG file.

    Three channels are coded together as RGB, with Pillow's own subsampling: chroma at half the resolution. Any other
    number of channels is coded one by one, as gray images.

    Args:
        images: in [0, 1].
        qualities: of each image, 1 to 100.
    """
    pixels = (images.detach().cpu() * 255).round().to(torch.uint8)
    planes = pixels.permute(0, 2, 3, 1).unsqueeze(1) if pixels.shape[1] == 3 else pixels
    pairs = zip(planes.numpy(), qualities, strict=True)
    back = torch.from_numpy(
        np.stack([np.stack([_code(plane, quality) for plane in image]) for image, quality in pairs])
    )
    back = back.squeeze(1).permute(0, 3, 1, 2) if pixels.shape[1] == 3 else back
    return back.to(images) / 255


def _code(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return one image, ``[H, W, 3]`` or ``[H, W]``, as it comes back from a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image)


@cache
def tables(quality: int) -> Tensor:
    """Return the quantization steps of luma and chroma that Pillow writes at a quality, ``[2, 8, 8]``.

    >>> tables(50)[0, 0].tolist()  # the example of the standard (ITU-T T.81, annex K)
    [16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0]
    """
    file = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        steps = image.quantization  # type: ignore[attr-defined]
    return torch.tensor([steps[0], steps[1]], dtype=torch.float32).view(2, BLOCK, BLOCK)


@cache
def cosines() -> Tensor:
    """Return the matrix of the discrete cosine transform of 8 numbers, ``[8, 8]``; its inverse is its transpose."""
    places, waves = torch.arange(BLOCK), torch.arange(BLOCK).unsqueeze(1)
    matrix = torch.cos((2 * places + 1) * waves * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def near_round_trip(images: Tensor, qualities: Sequence[int]) -> Tensor:
    """Return nearly what :func:`round_trip` does, differentiably, and not cut off at 0 and 1.

    Entropy coding loses nothing and is left out; chroma is halved and enlarged as libjpeg does; :func:`rounded` defines
    what passes gradients.
    """
    steps = torch.stack([tables(quality) for quality in qualities]).to(images)
    pixels = images * 255
    if images.shape[1] != 3:
        return _quantize(pixels, steps[:, :1].expand(-1, images.shape[1], -1, -1)) / 255
    colors = torch.tensor(COLORS).to(images)
    luma, chroma = torch.einsum("ij,bjhw->bihw", colors, pixels).split([1, 2], 1)
    size = images.shape[2:]
    odd = (0, size[1] % 2, 0, size[0] % 2)
    half = F.avg_pool2d(F.pad(chroma, odd, mode="replicate"), 2) + 128
    luma, half = _quantize(luma, steps[:, :1]), _quantize(half, steps[:, 1:].expand(-1, 2, -1, -1)) - 128
    chroma = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]
    back = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(colors), torch.cat([luma, chroma], 1))
    return back / 255


def rounded(numbers: Tensor) -> Tensor:
    """Return coefficients ``[..., 8, 8]`` rounded; gradients pass straight through, but not through what became zero.

    Straight through everything, the cosine transform and its inverse would cancel, and the gradient would know nothing
    of the quality; a small change of what is rounded to zero is lost. The mean of a block, its first coefficient, lets
    gradients through in any case.

    >>> numbers = torch.full((8, 8), 0.4, requires_grad=True)
    >>> rounded(3 * numbers).sum().backward(), rounded(numbers).sum().backward()
    (None, None)
    >>> numbers.grad[0, :2].tolist()
    [4.0, 3.0]
    """
    whole = numbers.detach().round()
    passes = whole != 0
    passes[..., 0, 0] = True
    return whole + (numbers - numbers.detach()) * passes


def _quantize(planes: Tensor, steps: Tensor) -> Tensor:
    """Return planes ``[B, C, H, W]`` of 0 to 255 after their cosine coefficients are whole multiples of ``steps``."""
    height, width = planes.shape[2:]
    padded = F.pad(planes - 128, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    blocks = padded.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)
    matrix, steps = cosines().to(planes), steps[:, :, None, None]
    coefficients = rounded(matrix @ blocks @ matrix.T / steps) * steps
    back = (matrix.T @ coefficients @ matrix).permute(0, 1, 2, 4, 3, 5).reshape(padded.shape)
    return back[:, :, :height, :width] + 128


def codec_flops(channels: int, height: int, width: int) -> int:
    """Return the FLOPs of coding and decoding one image, without entropy coding, which has no floating point.

    For each block of 8 x 8 values, 2 cosine transforms of 2 matrix products of ``8 ** 3`` multiply-adds each, and 3 per
    value to quantize and restore it: 4288. For RGB, chroma has blocks at half the resolution; 36 for each pixel to
    change colors and back, 4 for each of the two chromas' halved values, and 8 for each of their enlarged ones.

    >>> codec_flops(1, 8, 8), codec_flops(3, 16, 16)
    (4288, 39552)
    """
    size = height * width
    if channels != 3:
        return channels * _blocks(height, width) * BLOCK_FLOPS
    half = (height + 1) // 2, (width + 1) // 2
    blocks = _blocks(height, width) + 2 * _blocks(*half)
    return blocks * BLOCK_FLOPS + 36 * size + 2 * (4 * half[0] * half[1] + 8 * size)


def _blocks(height: int, width: int) -> int:
    """Return how many blocks a plane has, those at the edge counted whole."""
    return -(-height // BLOCK) * -(-width // BLOCK)
