"""How inputs become what a model reads: differentiable in pixels and sound samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace, FeatureSpace, ImageSpace, WaveSpace
from torpor.targets.decoder.generation.codec import HuggingFaceCodec


class DenseReader(Protocol):
    """Reads images or sounds."""

    @property
    def space(self) -> DenseSpace:
        """The valid inputs."""

    def settings(self) -> dict[str, Any]:
        """Return what decides the arguments, as JSON can hold it."""

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the model's arguments, differentiable with respect to ``inputs``."""


class ImageReader:
    """Do to images in [0, 1] of the model's own size what the image processor does to them.

    Args:
        processor: transformers' image processor; it may rescale and normalize, and resize to the model's own size.
        channels: of one image.
        size: height and width that the model reads.

    Raises:
        UsageError: if the processor gives images of another size.
    """

    def __init__(self, processor: Any, channels: int, size: tuple[int, int]) -> None:  # noqa: ANN401
        self.space = ImageSpace((channels, *size))
        given = _processed_size(processor)
        if given is not None and given != size:
            raise UsageError(
                f"expected an image processor that gives {size[0]} x {size[1]} pixels, got {given[0]} x {given[1]}; "
                "load the one that belongs to the model"
            )
        self.scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
        normalizes = bool(processor.do_normalize)
        self.mean = torch.tensor(processor.image_mean if normalizes else [0.0] * channels).view(-1, 1, 1)
        self.std = torch.tensor(processor.image_std if normalizes else [1.0] * channels).view(-1, 1, 1)

    def settings(self) -> dict[str, Any]:
        """Return what decides the arguments, as JSON can hold it."""
        return {"scale": self.scale, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return ``pixel_values``."""
        mean, std = self.mean.to(inputs), self.std.to(inputs)
        return {"pixel_values": (inputs * self.scale - mean) / std}


def _processed_size(processor: Any) -> tuple[int, int] | None:  # noqa: ANN401
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    if not getattr(processor, "do_resize", False) and not getattr(processor, "do_center_crop", False):
        return None
    if isinstance(size, int):
        return size, size
    if size is not None and "height" in size:
        return int(size["height"]), int(size["width"])
    edge = None if size is None else size.get("shortest_edge")
    return None if edge is None else (int(edge), int(edge))  # as large as the model reads, so square


class LogMelReader:
    """Whisper's log-mel spectrogram, so that gradients reach the sound.

    Args:
        extractor: transformers' ``WhisperFeatureExtractor``.
        frames: that the model reads.

    Raises:
        UsageError: if the extractor adds noise, or gives another number of frames.
    """

    def __init__(self, extractor: Any, frames: int) -> None:  # noqa: ANN401
        if extractor.dither:
            raise UsageError(f"expected a feature extractor without dither, got {extractor.dither}; set it to 0")
        if extractor.nb_max_frames != frames:
            raise UsageError(
                f"expected a feature extractor that gives {frames} frames, got {extractor.nb_max_frames}; load the one "
                "that belongs to the model"
            )
        self.space = WaveSpace((extractor.n_samples,), rate=extractor.sampling_rate)
        self.bins, self.hop = extractor.n_fft, extractor.hop_length
        self.shape = (extractor.feature_size, frames)
        self.filters = torch.from_numpy(extractor.mel_filters).to(torch.float32).T.contiguous()

    @property
    def seconds(self) -> float:
        """How long its sounds are."""
        return self.space.shape[0] / self.space.rate

    def lengthened(self, seconds: float) -> Self:
        """Return a reader of recordings of so many seconds, as many whole frames as that takes."""
        other, frames = copy.copy(self), math.ceil(seconds * self.space.rate / self.hop)
        other.space = WaveSpace((frames * self.hop,), rate=self.space.rate)
        other.shape = (self.shape[0], frames)
        return other

    def settings(self) -> dict[str, Any]:
        """Return what decides the arguments, as JSON can hold it."""
        return {"bins": self.bins, "hop": self.hop, "rate": self.space.rate, "filters": self.filters.tolist()}

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return ``input_features`` of waves ``[B, T]``."""
        window = torch.hann_window(self.bins, dtype=inputs.dtype, device=inputs.device)
        spectrum = torch.stft(inputs, self.bins, self.hop, window=window, return_complex=True)
        power = (spectrum[..., :-1].abs() ** 2).contiguous()
        levels = (self.filters.to(inputs) @ power).clamp_min(1e-10).log10()
        levels = torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8.0)
        return {"input_features": (levels + 4.0) / 4.0}


class FeatureReader:
    """Pass Whisper's features on as they are.

    Args:
        shape: mel bins and frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.space = FeatureSpace(shape)

    def settings(self) -> dict[str, Any]:
        """Return what decides the arguments, as JSON can hold it."""
        return {"features": list(self.space.shape)}

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return ``input_features``."""
        return {"input_features": inputs}


class TextReader:
    """Turn texts into padded rows of tokens.

    Args:
        codec: the tokenizer.
        left: pad on the left, as decoder-only models must be; else on the right.
        device: where to put the tokens.
    """

    def __init__(self, codec: HuggingFaceCodec, *, left: bool) -> None:
        self.codec, self.left = codec, left

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what the model reads for each text, special tokens included."""
        return [self.codec.wrapped(text)[0] for text in texts]

    def own(self, texts: Sequence[str]) -> Tensor:
        """Return which of the padded tokens are the texts' own, bool ``[B, P]``."""
        return self._pad([self.codec.wrapped(text)[1] for text in texts], False).bool()

    def pad(self, rows: Sequence[Sequence[int]], hole: int = 0) -> tuple[Tensor, Tensor]:
        """Return ids and attention mask, int64 ``[B, P]``; padding on the left goes after the first ``hole`` ids."""
        ids = self._pad(rows, self.codec.pad, hole)
        return ids, self._pad([[1] * len(row) for row in rows], 0, hole)

    def _pad(self, rows: Sequence[Sequence[int]], value: int, hole: int = 0) -> Tensor:
        width = max(len(row) for row in rows)
        padded = []
        for row in rows:
            fill = [value] * (width - len(row))
            padded.append([*row[:hole], *fill, *row[hole:]] if self.left else [*row, *fill])
        return torch.tensor(padded, dtype=torch.int64)
