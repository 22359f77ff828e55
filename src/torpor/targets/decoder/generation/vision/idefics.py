"""Idefics3 and SmolVLM: an image is resized, split into tiles, and shown once more as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.vision.preprocessing import Preprocessor, Size, tiles

LARGEST = 4096
"""Pixels of a side at most, whatever the processor's ``size`` is."""


class IdeficsPreprocessor(Preprocessor):
    """What ``Idefics3ImageProcessor`` and ``SmolVLMImageProcessor`` do."""

    def __init__(self, processor: Any, config: Any) -> None:  # noqa: ANN401 - transformers' own classes
        super().__init__(processor, config)
        levels = torch.arange(256).view(1, 1, -1)
        if bool(((levels * self.scale - self.mean) / self.std == 0).any(-1).all()):
            raise UsageError(
                "expected a normalization under which no color is 0 in all channels, since the model takes such tiles "
                f"for padding, got a mean of {self.mean.flatten().tolist()}; load the model's own image processor"
            )

    @property
    def edge(self) -> int:
        """Side of a tile."""
        return int(self.processor.max_image_size["longest_edge"])

    def _first(self, size: Size) -> Size:
        """Return the size after the first resizing, to the longest edge."""
        if not self.processor.do_resize:
            return size
        longest = self.processor.size.get("longest_edge")
        if not longest:
            return int(self.processor.size["height"]), int(self.processor.size["width"])
        height, width = size
        ratio = width / height
        if width >= height:
            width, height = longest, int(longest / ratio)
            height += height % 2
        else:
            height, width = longest, int(longest * ratio)
            width += width % 2
        height, width = max(height, 1), max(width, 1)
        ratio = width / height
        if width >= height and width > LARGEST:
            height, width = int(LARGEST / ratio), LARGEST
        elif height > width and height > LARGEST:
            height, width = LARGEST, int(LARGEST * ratio)
        return max(height, 1), max(width, 1)

    def _second(self, size: Size) -> Size:
        """Return the size after the second resizing, to whole tiles."""
        (height, width), edge = size, self.edge
        if not self.processor.do_image_splitting:
            return edge, edge
        ratio = width / height
        if width >= height:
            width = math.ceil(width / edge) * edge
            height = math.ceil(int(width / ratio) / edge) * edge
        else:
            height = math.ceil(height / edge) * edge
            width = math.ceil(int(height * ratio) / edge) * edge
        return height, width

    @override
    def frames(self, levels: Tensor) -> Tensor:
        first = self._first((levels.shape[-2], levels.shape[-1]))
        levels = self.resized(self.resized(levels, first), self._second(first))
        edge = self.edge
        if levels.shape[-2:] == (edge, edge):
            return levels.unsqueeze(1)
        whole = self.resized(levels, (edge, edge)).unsqueeze(1)
        return torch.cat([tiles(levels, (edge, edge)), whole], 1)

    @override
    def counts(self, size: Size) -> Mapping[str, int]:
        height, width = self._second(self._first(size))
        count = (height // self.edge) * (width // self.edge)
        return {"image_tile": count if count == 1 else count + 1}

    @override
    def sizes(self) -> Sequence[Size]:
        edge = self.edge
        return (max(1, edge // 4), edge), (max(1, edge // 2), edge)

    @override
    def usual(self) -> Size:
        return self.edge, self.edge
