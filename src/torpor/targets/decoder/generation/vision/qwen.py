"""Qwen2-VL and Qwen2.5-VL: an image keeps its proportions, and is read in as many patches as it has pixels for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor
from typing_extensions import override

from torpor.targets.decoder.generation.vision.preprocessing import Preprocessor, Size


class QwenPreprocessor(Preprocessor):
    """What ``Qwen2VLImageProcessor`` does."""

    @property
    def unit(self) -> int:
        """Side in pixels of what becomes one token."""
        return int(self.processor.patch_size) * int(self.processor.merge_size)

    def _fitted(self, size: Size) -> Size:
        if not self.processor.do_resize:
            return size
        (height, width), unit = size, self.unit
        least, most = self.processor.size["shortest_edge"], self.processor.size["longest_edge"]
        high, wide = round(height / unit) * unit, round(width / unit) * unit
        if high * wide > most:
            shrink = math.sqrt(height * width / most)
            return max(unit, math.floor(height / shrink / unit) * unit), max(
                unit, math.floor(width / shrink / unit) * unit
            )
        if high * wide < least:
            grow = math.sqrt(least / (height * width))
            return math.ceil(height * grow / unit) * unit, math.ceil(width * grow / unit) * unit
        return high, wide

    @override
    def frames(self, levels: Tensor) -> Tensor:
        return self.resized(levels, self._fitted((levels.shape[-2], levels.shape[-1]))).unsqueeze(1)

    @override
    def packed(self, frames: Tensor) -> Tensor:
        patch, merge = int(self.processor.patch_size), int(self.processor.merge_size)
        batch, _, channels, height, width = frames.shape
        high, wide = height // self.unit, width // self.unit
        cut = frames.view(batch, channels, high, merge, patch, wide, merge, patch)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)  # one image is a film that stands still
        cut = cut.expand(*cut.shape[:6], int(self.processor.temporal_patch_size), patch, patch)
        return cut.reshape(batch * high * wide * merge**2, -1)

    @override
    def counts(self, size: Size) -> Mapping[str, int]:
        height, width = self._fitted(size)
        patches = (height // int(self.processor.patch_size)) * (width // int(self.processor.patch_size))
        return {"image_patch": patches, "image_key": patches**2}

    @override
    def sizes(self) -> Sequence[Size]:
        least = math.ceil(math.sqrt(self.processor.size["shortest_edge"]) / self.unit) * self.unit
        return (least, least), (least, least + self.unit)

    @override
    def usual(self) -> Size:
        side = 16 * self.unit
        return self._fitted((side, side))


class QwenWindowsPreprocessor(QwenPreprocessor):
    """The same for Qwen2.5-VL, most of whose layers look at windows of an image only."""

    @property
    def _window(self) -> int:
        """Side of a window in tokens."""
        return int(self.config.vision_config.window_size) // self.unit

    @override
    def counts(self, size: Size) -> Mapping[str, int]:
        inside = 1
        for side in self._fitted(size):
            whole, rest = divmod(side // self.unit, self._window)
            inside *= whole * self._window**2 + rest**2
        return {**super().counts(size), "image_window_key": inside * int(self.processor.merge_size) ** 4}

    @override
    def sizes(self) -> Sequence[Size]:
        beyond = (self._window * self.unit, (self._window + 1) * self.unit)
        return (*super().sizes(), beyond)
