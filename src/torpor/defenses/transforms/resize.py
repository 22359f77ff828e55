"""Random resizing and padding: a perturbation meets the network at another place and scale each time."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class ResizePad(Transform):
    """Shrink each image to a random size, and put it at a random place on black.

    The paper enlarges 299 pixels to at most 331; a target has images of one size, so they are shrunk by as much: to
    90 % at most. Pixels in between are interpolated bilinearly. The transform is its own surrogate, with the same draw;
    boxes that are found are moved back to where they belong.

    Attributes:
        least: smallest side in percent of the image's, 50 to 99.

    >>> ResizePad.parse("").name
    'resize-pad:90'
    """

    id: ClassVar[str] = "resize-pad"
    paper: ClassVar[Paper | None] = Paper(
        "Mitigating Adversarial Effects Through Randomization", "Xie et al.", "ICLR", 2018, "arXiv:1711.01991"
    )
    draws: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    setting: ClassVar[str | None] = "least"

    least: int = 90

    def __post_init__(self) -> None:
        within(self.id, "smallest side", self.least, range(50, 100), "50 to 99 percent")

    @override
    def forward(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        return self.surrogate(inputs, generators)

    @override
    def surrogate(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        size = (inputs.shape[2], inputs.shape[3])
        moved = []
        for image, generator in zip(inputs, generators, strict=True):
            (height, width), (top, left) = self._draw(size, generator)
            small = F.interpolate(image.unsqueeze(0), (height, width), mode="bilinear", align_corners=False)
            moved.append(F.pad(small, (left, size[1] - width - left, top, size[0] - height - top)))
        return torch.cat(moved)

    @override
    def restore(self, boxes: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        (height, width), (top, left) = self._draw(size, generator)
        scale = boxes.new_tensor([size[1] / width, size[0] / height])
        return (boxes - boxes.new_tensor([left, top]).repeat(2)) * scale.repeat(2)

    def _draw(self, size: tuple[int, int], generator: torch.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the new size and the place of the upper left corner: each a number of rows, and of columns."""

        def draw(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=generator))

        height = draw(math.ceil(size[0] * self.least / 100), size[0])
        width = max(1, round(size[1] * height / size[0]))
        return (height, width), (draw(0, size[0] - height), draw(0, size[1] - width))

    def flops(self, space: InputSpace) -> int:
        """Return 8 for each value: four multiply-adds of the bilinear interpolation, at the largest size."""
        return 8 * math.prod(image_shape(space))
