"""Input spaces: which inputs can really be sent, and how they are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.budget import NORMS, PATCHES
from torpor.core.errors import DataError


class InputSpace(ABC):
    """The valid inputs of a target.

    Attributes:
        kind: ``"image"``, ``"video"``, ``"wave"``, ``"features"`` or ``"text"``.
        norms: budgets that make sense here; see :class:`torpor.core.Budget`.
    """

    kind: ClassVar[str]
    norms: ClassVar[tuple[str, ...]]

    @property
    def accepts(self) -> str:
        """What :meth:`check` lets through, in the singular: what a static bound is a bound of.

        >>> ImageSpace((3, 32, 32)).accepts
        'image of 3 x 32 x 32 pixels'
        """
        return f"valid {self.kind}"

    @abstractmethod
    def check(self, inputs: Samples) -> Samples:
        """Return ``inputs`` if all are valid.

        Raises:
            DataError: if not.
        """

    @abstractmethod
    def snap(self, inputs: Samples) -> Samples:
        """Return the nearest inputs that can be stored."""

    @abstractmethod
    def to_bytes(self, inputs: Samples) -> Samples:
        """Return inputs as they go into files: integers ``[B, ...]``, or texts as they are."""

    @abstractmethod
    def from_bytes(self, stored: Samples) -> Samples:
        """Return what :meth:`to_bytes` or a data set stored."""


@dataclass(frozen=True)
class DenseSpace(InputSpace):
    """Arrays of one shape whose values are whole multiples of ``1 / levels`` between ``low`` and ``high``.

    Attributes:
        shape: of one input.
    """

    shape: tuple[int, ...]
    norms: ClassVar[tuple[str, ...]] = NORMS
    what: ClassVar[str]
    how: ClassVar[str]
    letters: ClassVar[str]
    low: ClassVar[float]
    high: ClassVar[float]
    levels: ClassVar[int]
    stored: ClassVar[torch.dtype]

    @property
    @override
    def accepts(self) -> str:
        return f"{self.what} of {' x '.join(map(str, self.shape))} {self.letters}"

    def check(self, inputs: Tensor) -> Tensor:
        """Return ``inputs`` if they are floats of the right shape and range.

        Raises:
            DataError: on another shape or type, NaN, infinity, or values out of range.
        """
        if inputs.ndim != len(self.shape) + 1 or tuple(inputs.shape[1:]) != self.shape:
            raise DataError(
                f"expected {self.what}s of shape [B, {', '.join(map(str, self.shape))}], got {list(inputs.shape)}; "
                "pass inputs of that shape, or build the target for these"
            )
        span = f"[{self.low:g}, {self.high:.4g}]"
        if not inputs.is_floating_point():
            raise DataError(f"expected floating-point {self.what}s in {span}, got {inputs.dtype}; {self.how}")
        if len(inputs) == 0:
            raise DataError(f"expected at least one {self.what}, got an empty batch")
        low, high = (bound.item() for bound in inputs.detach().aminmax())
        if not (low >= self.low and high <= self.high):  # NaN fails both
            raise DataError(
                f"expected {self.letters} in {span}, got values from {low:g} to {high:g}; scale or clean the "
                f"{self.what}s"
            )
        return inputs

    def clamp(self, inputs: Tensor) -> Tensor:
        """Clip to the valid range."""
        return inputs.clamp(self.low, self.high)

    def snap(self, inputs: Tensor) -> Tensor:
        """Round to the nearest input that integers can hold."""
        return self.clamp(inputs).mul_(self.levels).round_().div_(self.levels)

    def to_bytes(self, inputs: Tensor) -> Tensor:
        """Return inputs as integers."""
        return (self.clamp(inputs) * self.levels).round().to(self.stored)

    def from_bytes(self, stored: Tensor) -> Tensor:
        """Return integers as float32."""
        return stored.to(torch.float32) / self.levels


@dataclass(frozen=True)
class PixelSpace(DenseSpace):
    """What is made of pixels in [0, 1], stored as 8-bit integers."""

    norms: ClassVar[tuple[str, ...]] = NORMS + PATCHES
    how: ClassVar[str] = "divide bytes by 255"
    letters: ClassVar[str] = "pixels"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    levels: ClassVar[int] = 255
    stored: ClassVar[torch.dtype] = torch.uint8


@dataclass(frozen=True)
class ImageSpace(PixelSpace):
    """Images ``[C, H, W]`` in [0, 1] whose pixels are stored as 8-bit integers.

    Attributes:
        shape: ``(C, H, W)`` of one image.

    >>> space = ImageSpace((1, 1, 2))
    >>> space.to_bytes(space.from_bytes(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))).tolist()
    [[[[0, 255]]]]
    """

    shape: tuple[int, int, int]
    kind: ClassVar[str] = "image"
    what: ClassVar[str] = "image"


@dataclass(frozen=True)
class WaveSpace(DenseSpace):
    """Mono sound ``[T]`` in [-1, 1) whose samples are stored as 16-bit integers.

    Attributes:
        rate: samples per second.

    >>> WaveSpace((2,), rate=8000).snap(torch.tensor([[2.0, -2.0]])).tolist()
    [[0.999969482421875, -1.0]]
    """

    rate: int = 8000
    kind: ClassVar[str] = "wave"
    what: ClassVar[str] = "wave"
    how: ClassVar[str] = "divide 16-bit samples by 32768"
    letters: ClassVar[str] = "samples"
    low: ClassVar[float] = -1.0
    high: ClassVar[float] = 32767 / 32768
    levels: ClassVar[int] = 32768
    stored: ClassVar[torch.dtype] = torch.int16


@dataclass(frozen=True)
class FeatureSpace(DenseSpace):
    """Log-mel features ``[M, T]`` of a sound, stored as 16-bit integers: 1 is 40 decibels, as in Whisper.

    >>> FeatureSpace((1, 1)).snap(torch.tensor([[[0.50001]]])).tolist()
    [[[0.5]]]
    """

    shape: tuple[int, int]
    kind: ClassVar[str] = "features"
    what: ClassVar[str] = "spectrogram"
    how: ClassVar[str] = "divide 16-bit features by 8192"
    letters: ClassVar[str] = "features"
    low: ClassVar[float] = -4.0
    high: ClassVar[float] = 32767 / 8192
    levels: ClassVar[int] = 8192
    stored: ClassVar[torch.dtype] = torch.int16


@dataclass(frozen=True)
class VideoSpace(PixelSpace):
    """Videos ``[T, C, H, W]`` in [0, 1] whose pixels are stored as 8-bit integers; budgets hold for each frame.

    Attributes:
        shape: ``(T, C, H, W)`` of one video.

    >>> VideoSpace((2, 1, 1, 1)).frame
    ImageSpace(shape=(1, 1, 1))
    """

    shape: tuple[int, int, int, int]
    kind: ClassVar[str] = "video"
    what: ClassVar[str] = "video"

    @property
    def frame(self) -> ImageSpace:
        """The space of one frame."""
        return ImageSpace(self.shape[1:])
