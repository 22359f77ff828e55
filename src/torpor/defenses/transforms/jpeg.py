"""JPEG: images are compressed and read again, in the hope that fine perturbations are what gets lost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from torpor.core.space import InputSpace
from torpor.core.threat import Paper
from torpor.defenses.settings import within
from torpor.defenses.transforms.base import Transform, image_shape
from torpor.defenses.transforms.jpeg_codec import BLOCK, codec_flops, near_round_trip, round_trip

QUALITIES = (90, 75, 50, 25)
"""From which random qualities are drawn."""
RoundTrip = Callable[[Tensor, Sequence[int]], Tensor]
"""Codes images ``[B, C, H, W]``, each with its quality, and decodes them."""


class JPEGTransform(Transform):
    """Save and read images as JPEG; kinds of it write :meth:`recoded`.

    The surrogate is the same coding in torch; gradients pass straight through the rounding of coefficients that are not
    rounded to zero. See :func:`~torpor.defenses.transforms.jpeg_codec.near_round_trip`.
    """

    @abstractmethod
    def recoded(self, inputs: Tensor, generators: list[torch.Generator], code: RoundTrip) -> Tensor:
        """Return images ``[B, C, H, W]`` after ``code``; ``generators`` as for :meth:`Transform.forward`."""

    @override
    def forward(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        return self.recoded(inputs, generators, round_trip)

    @override
    def surrogate(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        return self.recoded(inputs, generators, near_round_trip)

    def flops(self, space: InputSpace) -> int:
        """Return the FLOPs of coding and decoding; see :func:`~torpor.defenses.transforms.jpeg_codec.codec_flops`."""
        return codec_flops(*image_shape(space))


@dataclass(frozen=True)
class JPEG(JPEGTransform):
    """Save each image as JPEG and read it again.

    Attributes:
        quality: as Pillow and libjpeg count it, 1 to 100.

    >>> JPEG.parse("").name
    'jpeg:75'
    """

    id: ClassVar[str] = "jpeg"
    paper: ClassVar[Paper | None] = Paper(
        "A Study of the Effect of JPG Compression on Adversarial Images",
        "Dziugaite et al.",
        "arXiv",
        2016,
        "arXiv:1608.00853",
    )
    setting: ClassVar[str | None] = "quality"

    quality: int = 75

    def __post_init__(self) -> None:
        within(self.id, "quality", self.quality, range(1, 101), "1 to 100")

    @override
    def recoded(self, inputs: Tensor, generators: list[torch.Generator], code: RoundTrip) -> Tensor:
        return code(inputs, [self.quality] * len(inputs))


@dataclass(frozen=True)
class RandomJPEG(JPEGTransform):
    """Save each image as JPEG, with a quality drawn from 90, 75, 50 and 25, and read it again.

    SHIELD (Das et al.) draws a quality for each block of 8 x 8 pixels; here, it is one for the whole image.

    >>> RandomJPEG().name
    'jpeg-random'
    """

    id: ClassVar[str] = "jpeg-random"
    paper: ClassVar[Paper | None] = Paper(
        "SHIELD: Fast, Practical Defense and Vaccination for Deep Learning using JPEG Compression",
        "Das et al.",
        "KDD",
        2018,
        "arXiv:1802.06816",
    )
    draws: ClassVar[bool] = True

    @override
    def recoded(self, inputs: Tensor, generators: list[torch.Generator], code: RoundTrip) -> Tensor:
        drawn = (int(torch.randint(len(QUALITIES), (), generator=generator)) for generator in generators)
        return code(inputs, [QUALITIES[which] for which in drawn])


@dataclass(frozen=True)
class BlockJPEG(JPEG):
    """Save and read each block of 8 x 8 pixels on its own, as the artifact of the study does.

    Chroma is coded at half the resolution here too, so that a block's chroma are 4 x 4 values. What sticks out beyond
    the last whole block is filled up with the pixels at the edge, and cut off again.

    >>> BlockJPEG().name
    'jpeg-blocks:90'
    """

    id: ClassVar[str] = "jpeg-blocks"
    paper: ClassVar[Paper | None] = Paper(
        "SoK: Efficiency Robustness of Dynamic Deep Learning Systems",
        "Rathnasuriya et al.",
        "USENIX Security",
        2025,
        "arXiv:2506.10831",
    )

    quality: int = 90

    @override
    def recoded(self, inputs: Tensor, generators: list[torch.Generator], code: RoundTrip) -> Tensor:
        blocks = _blocks(inputs)
        return _together(code(blocks, [self.quality] * len(blocks)), inputs)

    def flops(self, space: InputSpace) -> int:
        """Return the FLOPs of coding and decoding all blocks."""
        channels, height, width = image_shape(space)
        return -(-height // BLOCK) * -(-width // BLOCK) * codec_flops(channels, BLOCK, BLOCK)


def _blocks(images: Tensor) -> Tensor:
    """Cut images ``[B, C, H, W]`` into blocks ``[B * N, C, 8, 8]``, row by row."""
    height, width = images.shape[2:]
    padded = F.pad(images, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    blocks = padded.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)
    return blocks.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _together(blocks: Tensor, images: Tensor) -> Tensor:
    """Put blocks back to images of the shape of ``images``."""
    count, channels, height, width = images.shape
    down, across = -(-height // BLOCK), -(-width // BLOCK)
    grid = blocks.view(count, down, across, channels, BLOCK, BLOCK).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(count, channels, down * BLOCK, across * BLOCK)[..., :height, :width]
