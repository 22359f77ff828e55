"""Spatial smoothing: a pixel is replaced by what its neighborhood suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor
from typing_extensions import override

from torpor.core.space import InputSpace
from torpor.core.threat import Paper
from torpor.defenses.settings import library, within
from torpor.defenses.transforms.base import Transform, image_shape
from torpor.targets.base import Target

PATCH = 7
"""Side of the patches that non-local means compares."""
REACH = 10
"""How far away they are at most, along each axis."""
SQUEEZING = Paper(
    "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    "Xu et al.",
    "NDSS",
    2018,
    "arXiv:1704.01155",
)


def windows(images: Tensor, size: int) -> Tensor:
    """Return the ``size`` x ``size`` pixels around each pixel, ``[B, C, H, W, size ** 2]``; edges are repeated.

    >>> windows(torch.tensor([[[[1.0, 2.0]]]]), 3)[0, 0, 0, 0].tolist()
    [1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 1.0, 1.0, 2.0]
    """
    padded = F.pad(images, (size // 2,) * 4, mode="replicate")
    return padded.unfold(2, size, 1).unfold(3, size, 1).flatten(4)


@dataclass(frozen=True)
class Median(Transform):
    """Replace each value by the median of those around it, in its own channel.

    The surrogate is the median itself: its gradient goes to the pixel that it took. That is exact almost everywhere;
    in small tests, attacks did slightly better with it than with the identity's or the local mean's.

    Attributes:
        size: side of the window in pixels, an odd number from 3 to 15.

    >>> Median.parse("5").name
    'median:5'
    """

    id: ClassVar[str] = "median"
    paper: ClassVar[Paper | None] = SQUEEZING
    setting: ClassVar[str | None] = "size"

    size: int = 3

    def __post_init__(self) -> None:
        within(self.id, "side", self.size, range(3, 17, 2), "an odd number from 3 to 15")

    def forward(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        """See :meth:`Transform.forward`; by SciPy."""
        pixels = inputs.detach().cpu().numpy()
        return torch.from_numpy(median_filter(pixels, size=(1, 1, self.size, self.size), mode="nearest")).to(inputs)

    @override
    def surrogate(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        return windows(inputs, self.size).median(-1).values

    def flops(self, space: InputSpace) -> int:
        """Return the comparisons that sort a window by binary insertion, ``n ceil(log2 n)`` for each of its values."""
        count = self.size**2
        return math.prod(image_shape(space)) * count * math.ceil(math.log2(count))


@dataclass(frozen=True)
class NonLocalMeans(Transform):
    """Replace each pixel by the mean of those nearby whose own surroundings look alike.

    From Buades et al. (CVPR 2005), as a defense from Xu et al. Patches of 7 x 7 pixels are compared in a window of
    21 x 21, as in the artifact of the USENIX Security 2025 study; by scikit-image, whose weights are those of the fast
    method of Darbon et al., on RGB. The study's are OpenCV's, on a luma and two chromas.

    The surrogate is the identity, which costs nothing: in small tests attacks did no better with the gradient of local
    means, or with that of the weighted mean at fixed weights.

    Attributes:
        strength: up to which difference patches are alike, in gray levels of 255; the study's 10 by default.

    >>> NonLocalMeans.parse("5").name
    'non-local-means:5'
    """

    id: ClassVar[str] = "non-local-means"
    paper: ClassVar[Paper | None] = SQUEEZING
    setting: ClassVar[str | None] = "strength"

    strength: int = 10

    def __post_init__(self) -> None:
        within(self.id, "strength", self.strength, range(1, 256), "1 to 255 gray levels")

    def check(self, target: Target) -> None:
        """See :meth:`Defense.check`; scikit-image must be there too."""
        super().check(target)
        _restoration()

    @override
    def forward(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        images = inputs.detach().to("cpu", torch.float64).numpy()
        return torch.from_numpy(np.stack([self._smooth(image) for image in images])).to(inputs).clamp(0, 1)

    def _smooth(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one image ``[C, H, W]`` smoothed."""
        height, width = image.shape[1:]
        thick = np.pad(image, ((0, 0), (0, height == 1), (0, width == 1)), mode="edge")  # sides of 1 would be dropped
        found = _restoration().denoise_nl_means(
            thick[0] if len(thick) == 1 else thick,
            patch_size=PATCH,
            patch_distance=REACH,
            h=self.strength / 255,
            fast_mode=True,
            channel_axis=None if len(thick) == 1 else 0,
        )
        smooth: NDArray[np.float64] = found.reshape(thick.shape)[:, :height, :width]
        return smooth

    def flops(self, space: InputSpace) -> int:
        """Return the FLOPs of comparing each pixel with the 21 x 21 around it.

        ``5 C + 8`` each: 3 for each channel's squared difference and their sum, 5 for the sum over a patch by running
        sums, 2 for the weight and 1 for the sum of weights, 2 for each channel's weighted sum; then ``C`` divisions.
        """
        channels, height, width = image_shape(space)
        return height * width * ((2 * REACH + 1) ** 2 * (5 * channels + 8) + channels)


def _restoration() -> Any:  # noqa: ANN401 - a module
    return library("skimage.restoration", "scikit-image", NonLocalMeans.id)
