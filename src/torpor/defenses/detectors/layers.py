"""The layers of detectors: which inputs are rejected, and the alarm that adaptive attackers see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples, take
from torpor.core.signals import Signals
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.defenses.detectors.models import Tensors
from torpor.defenses.detectors.rejection import run_passed
from torpor.defenses.layer import Layer, frames_of
from torpor.targets.base import Target

TIE = 1e-4
"""Where a score is this close to the threshold, the sample is decided by a look of its own: batches round otherwise."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a detector has learned.

    Attributes:
        model: as tensors; empty for detectors that compare an input with itself.
        threshold: scores above it are rejected.
    """

    model: Tensors
    threshold: float


class Scorer(Protocol):
    """What a layer requires of its detector; see :class:`torpor.defenses.detectors.base.Detector`."""

    @property
    def ready(self) -> Trained:
        """What was learned."""

    def row_scores(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        """Return a score for each input, or for each frame of each video; an attack's is larger."""

    def alarm(self, scores: Tensor) -> Tensor:
        """Return by how much each of ``scores`` is above the threshold."""

    def fingerprint(self) -> str:
        """Return what changes when the setting or anything learned does."""


class DetectorLayer(Layer):
    """The layer of a detector.

    Args:
        detector: fitted.
        target: that it was fitted to; it looks at inputs with this one, also where a variation of it runs.
        units: of one look.
    """

    def __init__(self, detector: Scorer, target: Target, units: tuple[Unit, ...]) -> None:
        self.detector, self.target, self.units = detector, target, units

    @override
    def fingerprint(self) -> str:
        return self.detector.fingerprint()

    def reseeded(self) -> Self:
        """See :meth:`Layer.reseeded`; the detector draws as the target inside does."""
        return type(self)(self.detector, self.target.reseeded(), self.units)

    @override
    def part(self, name: str) -> Self:
        return type(self)(self.detector, getattr(self.target, name), self.units)

    @override
    def to(self, device: torch.device) -> Self:
        return type(self)(self.detector, self.target.to(device), self.units)

    def scores(self, inner: Target, inputs: Samples) -> Tensor:
        """Return the score of each input, or of each frame of each video."""
        return self.detector.row_scores(self.target, inputs, self.detector.ready.model)

    @torch.no_grad()
    def rejected(self, inner: Target, inputs: Samples, scores: Tensor, also_alone: Tensor | None = None) -> Tensor:
        """Tell which inputs are rejected, bool ``[B]`` on the CPU, whatever their neighbors.

        Args:
            inner: what runs.
            inputs: valid inputs.
            scores: of all rows, seen in one batch.
            also_alone: inputs to look at one by one in any case, bool ``[B]``.
        """
        alarm = self.detector.alarm(whole(inner, scores)).cpu()
        near = alarm.abs() < TIE * max(1.0, abs(self.detector.ready.threshold))
        alone = near if also_alone is None else near | also_alone
        if len(inputs) > 1:
            for row in alone.nonzero().flatten().tolist():
                one = take(inputs, torch.tensor([row]))
                alarm[row] = self.detector.alarm(whole(inner, self.scores(inner, one))).item()
        return alarm > 0

    def sounded(self, found: Signals, scores: Tensor) -> Tensor:
        """Return the alarm for each row of ``found``, also that of detectors further inside."""
        own = self.detector.alarm(scores)
        return own if found.alarm is None else torch.maximum(own, found.alarm)


class InputDetectorLayer(DetectorLayer):
    """Looks at inputs and turns away those of high score before the target runs."""

    @override
    def run(self, inner: Target, inputs: Samples) -> Outcome:
        with torch.no_grad():
            scores = self.scores(inner, inputs)
        outcome = run_passed(inner, inputs, self.rejected(inner, inputs, scores))
        return replace(outcome, work=self.charge(outcome.work, self.times(inner.space)))

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; of rejected inputs too, whose work inside is 0."""
        found = inner.signals(inputs)
        scores = self.scores(inner, inputs)
        turned = self.detector.alarm(whole(inner, scores.detach())) > 0
        turned = (turned if found.rows is None else turned[found.rows.to(turned.device)]).to(found.work.counts.device)
        passed = replace(found, work=Work(found.work.counts.masked_fill(turned.unsqueeze(1), 0)))
        return replace(passed, work=self.charge_rows(inner, passed), alarm=self.sounded(found, scores))

    def least_work(self, inner: Target) -> Work:
        """See :meth:`Layer.least_work`: a look at what is rejected."""
        return self.charge(Work(torch.zeros(1, len(inner.units), dtype=torch.int64)), self.times(inner.space))


def whole(target: Target, scores: Tensor) -> Tensor:
    """Return the score of each input, the largest of its frames'."""
    return scores.view(-1, frames_of(target.space)).amax(1)
