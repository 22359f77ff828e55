"""LLaVA and LLaVA-NeXT: one image of the vision encoder's size, or that and tiles of the best of several grids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from torpor.targets.decoder.generation.vision.preprocessing import (
    Preprocessor,
    Size,
    centered,
    side_of,
    tiles,
)


class LlavaPreprocessor(Preprocessor):
    """What ``LlavaImageProcessor``, ``CLIPImageProcessor`` and ``SiglipImageProcessor`` do."""

    @override
    def frames(self, levels: Tensor) -> Tensor:
        return self._fitted(self._squared(levels)).unsqueeze(1)

    def _squared(self, levels: Tensor) -> Tensor:
        """Pad to a square with the mean color, where the processor does."""
        height, width = levels.shape[-2:]
        if not getattr(self.processor, "do_pad", False) or height == width:
            return levels
        side, colors = max(height, width), [int(mean * 255) for mean in self.processor.image_mean]
        square = levels.new_tensor(colors).view(-1, 1, 1).expand(*levels.shape[:-2], side, side).clone()
        top, left = (side - height) // 2, (side - width) // 2
        square[..., top : top + height, left : left + width] = levels
        return square

    def _fitted(self, levels: Tensor) -> Tensor:
        """Resize and crop."""
        if self.processor.do_resize:
            levels = self.resized(levels, side_of(self.processor.size, (levels.shape[-2], levels.shape[-1])))
        if getattr(self.processor, "do_center_crop", False):
            levels = centered(levels, side_of(self.processor.crop_size, (levels.shape[-2], levels.shape[-1])))
        return levels

    @override
    def packed(self, frames: Tensor) -> Tensor:
        return frames.squeeze(1)

    @override
    def counts(self, size: Size) -> Mapping[str, int]:
        return {"image_tile": 1}

    @override
    def sizes(self) -> Sequence[Size]:
        return (self.usual(),)

    @override
    def usual(self) -> Size:
        side = int(self.config.vision_config.image_size)
        return side, side


class LlavaNextPreprocessor(LlavaPreprocessor):
    """What ``LlavaNextImageProcessor`` does: AnyRes."""

    def _side(self) -> int:
        return int((self.processor.crop_size or {}).get("height") or side_of(self.processor.size, (1, 1))[0])

    def _grid(self, size: Size) -> Size:
        """Return the resolution that wastes the least of an image of this size."""
        best: tuple[tuple[float, float], Size] | None = None
        for height, width in self.processor.image_grid_pinpoints:
            fitted = _within(size, (height, width))
            seen = min(fitted[0] * fitted[1], size[0] * size[1])
            key = (seen, -(height * width - seen))
            if best is None or key > best[0]:
                best = key, (int(height), int(width))
        assert best is not None
        return best[1]

    @override
    def frames(self, levels: Tensor) -> Tensor:
        size = (levels.shape[-2], levels.shape[-1])
        grid, whole = self._grid(size), side_of(self.processor.size, (1, 1))
        inside = _inside(size, grid)
        (above, below), (before, behind) = (_halves(full - own) for full, own in zip(grid, inside, strict=True))
        filled = pad(self.resized(levels, inside), (before, behind, above, below))
        parts = [self.resized(levels, whole).unsqueeze(1), tiles(filled, (self._side(), self._side()))]
        return torch.cat([self._fitted(part) for part in parts], 1)

    @override
    def packed(self, frames: Tensor) -> Tensor:
        return frames

    @override
    def counts(self, size: Size) -> Mapping[str, int]:
        height, width = self._grid(size)
        return {"image_tile": 1 + (height // self._side()) * (width // self._side())}

    @override
    def sizes(self) -> Sequence[Size]:
        sizes = [(int(height), int(width)) for height, width in self.processor.image_grid_pinpoints]
        by_tiles = {self.counts(size)["image_tile"]: size for size in sizes}
        return tuple(by_tiles[count] for count in sorted(by_tiles))[:2]


def _within(size: Size, grid: Size) -> Size:
    """Return the largest size of the same proportions within ``grid``, rounded down."""
    scale = min(grid[1] / size[1], grid[0] / size[0])
    return int(size[0] * scale), int(size[1] * scale)


def _inside(size: Size, grid: Size) -> Size:
    """Return the largest size of the same proportions within ``grid``, rounded up."""
    (height, width), (most_high, most_wide) = size, grid
    across, down = most_wide / width, most_high / height
    if across < down:
        return min(math.ceil(height * across), most_high), most_wide
    return most_high, min(math.ceil(width * down), most_wide)


def _halves(count: int) -> Size:
    return count // 2, count - count // 2
