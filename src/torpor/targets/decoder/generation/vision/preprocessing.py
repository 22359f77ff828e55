"""What the image processor of a vision-language model does to images of one size, differentiable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.vision.resampling import resized, rounded

Size = tuple[int, int]
"""Height and width in pixels."""


class Preprocessor(ABC):
    """Resize, cut and normalize images as one of transformers' image processors does.

    Args:
        processor: transformers' image processor.
        config: of the model.
    """

    def __init__(self, processor: Any, config: Any) -> None:  # noqa: ANN401 - transformers' own classes
        self.processor, self.config = processor, config
        self.scale = float(processor.rescale_factor) if processor.do_rescale else 1.0
        normalizes = bool(processor.do_normalize)
        self.mean = torch.tensor(processor.image_mean if normalizes else [0.0] * 3).view(-1, 1, 1)
        self.std = torch.tensor(processor.image_std if normalizes else [1.0] * 3).view(-1, 1, 1)
        self.resample = int(processor.resample if processor.resample is not None else 2)

    @abstractmethod
    def frames(self, levels: Tensor) -> Tensor:
        """Return what the vision encoder sees of images ``[B, 3, H, W]``, of levels too, as ``[B, N, 3, h, w]``."""

    @abstractmethod
    def counts(self, size: Size) -> Mapping[str, int]:
        """Return how often each unit of the vision encoder runs for an image of that size."""

    @abstractmethod
    def sizes(self) -> Sequence[Size]:
        """Return a few sizes of images that are cheap to read, the cheapest first, to find prices of the units from."""

    @abstractmethod
    def usual(self) -> Size:
        """Return a size that the model was made for."""

    def packed(self, frames: Tensor) -> Tensor:
        """Return normalized frames ``[B, N, 3, h, w]`` as the model takes them."""
        return frames

    def __call__(self, images: Tensor) -> Tensor:
        """Return ``pixel_values`` of images ``[B, 3, H, W]`` in [0, 1]."""
        frames = self.frames(rounded(images.to(torch.float64) * 255)).to(torch.float32)
        mean, std = self.mean.to(frames), self.std.to(frames)
        return self.packed((frames * self.scale - mean) / std)

    def resized(self, levels: Tensor, size: Size) -> Tensor:
        """Resize with the processor's filter."""
        return resized(levels, size, self.resample)


def tiles(levels: Tensor, side: Size) -> Tensor:
    """Cut images ``[B, 3, H, W]`` into tiles ``[B, N, 3, h, w]``, row by row.

    >>> tiles(torch.arange(8).view(1, 1, 2, 4), (2, 2)).tolist()
    [[[[[0, 1], [4, 5]]], [[[2, 3], [6, 7]]]]]
    """
    batch, channels, height, width = levels.shape
    grid = levels.view(batch, channels, height // side[0], side[0], width // side[1], side[1])
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels, *side)


def shortest_edge(size: Size, edge: int) -> Size:
    """Return a size whose shorter side is ``edge``, as transformers computes it.

    >>> shortest_edge((30, 50), 24), shortest_edge((50, 30), 24)
    ((24, 40), (40, 24))
    """
    height, width = size
    longer = int(edge * max(size) / min(size))
    return (edge, longer) if height <= width else (longer, edge)


def side_of(given: Any, size: Size) -> Size:  # noqa: ANN401 - a dict or transformers' SizeDict
    """Return what an image of some size is resized to by a processor's ``size`` or ``crop_size``.

    Raises:
        UsageError: if it is told otherwise than by height and width, or the shortest edge.
    """
    named = {name: given.get(name) for name in ("height", "width", "shortest_edge", "longest_edge")}
    if named["height"] and named["width"]:
        return int(named["height"]), int(named["width"])
    if named["shortest_edge"] and not named["longest_edge"]:
        return shortest_edge(size, int(named["shortest_edge"]))
    raise UsageError(f"expected an image processor of a height and a width or a shortest edge, got {given}; change it")


def centered(levels: Tensor, side: Size) -> Tensor:
    """Crop the center of images.

    Raises:
        UsageError: if they are smaller, which would need padding.
    """
    height, width = levels.shape[-2:]
    if height < side[0] or width < side[1]:
        raise UsageError(
            f"expected images of {side[0]} x {side[1]} or more to crop, got {height} x {width}; resize more"
        )
    top, left = (height - side[0]) // 2, (width - side[1]) // 2
    return levels[..., top : top + side[0], left : left + side[1]]
