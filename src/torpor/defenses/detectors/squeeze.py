"""Feature squeezing: an input whose squeezed versions change the target's answer is rejected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.space import VideoSpace
from torpor.core.threat import Paper
from torpor.defenses.detectors.base import Detector
from torpor.defenses.detectors.models import Tensors
from torpor.defenses.layer import frames_of
from torpor.targets.base import Target

PAPER = Paper(
    "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    "Xu et al.",
    "NDSS",
    2018,
    "arXiv:1704.01155",
)
LEVELS = 15
"""Gray levels above black of an image squeezed to 4 bits."""
WINDOW = 3
"""Pixels per side of the median filter."""
STEPS = 8
"""Decoder steps that are compared."""


@dataclass(frozen=True)
class Squeeze(Detector):
    """Flag images by the larger of two distances: to the target's signals at 4 bits, and after a median filter.

    The distance is the L1 distance between class probabilities, the mean over all exits (early exit); between the
    probabilities of the next token, the mean over the first 8 steps (iteration); or between the scores of all boxes,
    as a share of their sum (detection). It learns nothing from attacks; calibration inputs give the threshold.

    It runs the target on three images before the target runs: it costs three times what the target does, and must
    therefore stop more than it costs.
    """

    id: ClassVar[str] = "squeeze"
    paper: ClassVar[Paper | None] = PAPER
    contrasts: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("image", "video")

    def learn(self, target: Target, clean: Samples, attacked: Samples, seed: int) -> Tensors:
        """Return nothing: there is nothing to learn."""
        return {}

    @override
    def row_scores(self, target: Any, inputs: Tensor, model: Tensors) -> Tensor:
        if isinstance(target.space, VideoSpace):
            return self.row_scores(target.detector, inputs.flatten(0, 1), model)
        seen = _short(target)
        plain = _says(seen, inputs)
        found = [_distance(plain, _says(seen, version)) for version in (fewer_bits(inputs), median(inputs))]
        return torch.stack(found).amax(0)

    def flops(self, target: Target) -> int:
        """Return three times the static bound, of a decoder three times that of its first steps."""
        seen: Target = _short(target)
        return round(3 * seen.prices.cost(seen.static_work()).item() / frames_of(target.space))


def fewer_bits(inputs: Tensor) -> Tensor:
    """Return images in 4 bits per channel; gradients pass straight through.

    >>> fewer_bits(torch.tensor([0.0, 0.05, 1.0])).tolist()
    [0.0, 0.06666667014360428, 1.0]
    """
    return inputs + ((inputs * LEVELS).round() / LEVELS - inputs).detach()


def median(inputs: Tensor) -> Tensor:
    """Return images ``[B, C, H, W]`` after a median filter of 3 x 3 pixels, edges mirrored.

    >>> spot = torch.zeros(1, 1, 5, 5)
    >>> spot[..., 2, 2] = 1
    >>> median(spot).sum().item()
    0.0
    """
    padded = F.pad(inputs, [WINDOW // 2] * 4, mode="reflect")
    windows = padded.unfold(2, WINDOW, 1).unfold(3, WINDOW, 1).flatten(4)
    return windows.median(-1).values


def _short(target: Any) -> Any:  # noqa: ANN401 - a target of the same kind
    return target.with_cap(min(STEPS, target.cap)) if target.offers("with_cap") else target


def _says(target: Any, images: Tensor) -> Tensor:  # noqa: ANN401
    """Return what is compared, ``[B, N, C]``, of decoders always :data:`STEPS` steps: no token after the end.

    Raises:
        UsageError: if the target's family does not offer it.
    """
    said: Tensor | None = target.family.answers(target, target.signals(images))
    if said is None:
        raise UsageError(f"expected a family whose answers can be compared, got {target.family.id}; write answers()")
    return F.pad(said, (0, 0, 0, STEPS - said.shape[1])) if target.offers("with_cap") else said


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the distance of two answers, ``[B]``: 0 if they are the same, 2 if they have nothing in common."""
    apart, mass = (one - other).abs().sum((1, 2)), (one + other).sum((1, 2))
    return 2 * apart / mass.clamp_min(1e-6)
