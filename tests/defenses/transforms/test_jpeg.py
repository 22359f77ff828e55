"""JPEG is Pillow's, to the last bit; its surrogate knows the quality."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from torpor.core.space import ImageSpace
from torpor.defenses.transforms.jpeg import JPEG, QUALITIES, BlockJPEG, RandomJPEG
from torpor.defenses.transforms.jpeg_codec import near_round_trip, round_trip, tables


def by_pillow(image: Tensor, quality: int) -> Tensor:
    stored = (image * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(stored, "L" if stored.ndim == 2 else "RGB").save(file, format="JPEG", quality=quality)
    back: NDArray[np.uint8] = np.array(Image.open(file))
    return torch.from_numpy(back).view(*image.shape[1:], -1).permute(2, 0, 1).float() / 255


def images(channels: int, height: int, width: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return ImageSpace((channels, height, width)).snap(torch.rand(count, channels, height, width, generator=generator))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 17, 30), (1, 5, 21), (1, 1, 1), (3, 1, 1)])
@pytest.mark.parametrize("quality", [*QUALITIES, 100, 1])
def test_jpeg_is_the_round_trip_of_pillow(shape: tuple[int, int, int], quality: int) -> None:
    inputs = images(*shape)
    expected = torch.stack([by_pillow(image, quality) for image in inputs])
    assert torch.equal(JPEG(quality).forward(inputs, []), expected)


def test_other_numbers_of_channels_are_gray_images() -> None:
    inputs = images(2, 6, 9)
    alone = torch.cat([round_trip(inputs[:, place : place + 1], [50] * 3) for place in range(2)], 1)
    assert torch.equal(round_trip(inputs, [50] * 3), alone)


def test_blocks_are_coded_one_by_one() -> None:
    inputs = images(3, 11, 16)
    found = BlockJPEG().forward(inputs, [])
    assert torch.equal(found[0, :, :8, 8:], by_pillow(inputs[0, :, :8, 8:], 90))
    edge = torch.cat([inputs[0, :, 8:, :8], inputs[0, :, 10:, :8].expand(-1, 5, -1)], 1)
    assert torch.equal(found[0, :, 8:, :8], by_pillow(edge, 90)[:, :3])


def test_random_qualities_are_the_four() -> None:
    inputs = images(3, 16, 16, 1).expand(24, -1, -1, -1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(24)]
    found = RandomJPEG().forward(inputs, generators)
    known = [by_pillow(inputs[0], quality) for quality in QUALITIES]
    drawn = [[torch.equal(image, one) for one in known].index(True) for image in found]
    assert set(drawn) == {0, 1, 2, 3}


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("shape", [(1, 16, 24), (3, 16, 32), (3, 19, 21)])
def test_the_surrogate_is_what_pillow_does(shape: tuple[int, int, int], quality: int) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, shape[0], 4, 4, generator=generator)
    inputs = ImageSpace(shape).snap(torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear"))
    apart = (near_round_trip(inputs, [quality] * 2).clamp(0, 1) - round_trip(inputs, [quality] * 2)).abs() * 255
    assert apart.mean() < 1.5


def test_the_surrogate_has_no_gradient_in_what_is_lost() -> None:
    """A fine checkerboard vanishes at quality 25, not at 100: so must the gradient in its direction."""
    board = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 - 0.5).view(1, 1, 8, 8)

    def slope(quality: int) -> float:
        inputs = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
        weighted = (near_round_trip(inputs + 0.02 * board, [quality]) * board).sum()
        (gradient,) = torch.autograd.grad(weighted, inputs)
        return (gradient * board).sum().item()

    assert slope(25) < 0.3 * slope(100)


def test_tables_scale_with_quality() -> None:
    assert torch.equal(tables(100), torch.ones(2, 8, 8))
    assert (tables(25) == (tables(50) * 2).clamp_max(255)).all()
    assert tables(50)[1, 0, 0] == 17
