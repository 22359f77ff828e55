"""The layers of detectors: who is refused, and the alarm that attackers know of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from torpor.core.batches import Samples, take
from torpor.core.outcome import Outcome
from torpor.core.signals import Signals
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.defenses.models import Tensors
from torpor.defenses.refusal import run_passed
from torpor.defenses.wrapped import Layer, frames_of
from torpor.targets.base import Target

TIE = 1e-4
"""Where a score is this close to the threshold, the sample is decided by a look of its own: batches round otherwise."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a detector has learned.

    Attributes:
        model: as tensors; empty for detectors that compare an input with itself.
        threshold: scores above it are refused.
    """

    model: Tensors
    threshold: float


class Scorer(Protocol):
    """What a layer asks of its detector; see :class:`torpor.defenses.detector.Detector`."""

    @property
    def ready(self) -> Fitted:
        """What was learned."""

    def suspicion(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        """Return a score for each input, or for each frame of each video; larger is more suspicious."""

    def alarm(self, scores: Tensor) -> Tensor:
        """Return by how much each of ``scores`` is above the threshold."""

    def fingerprint(self) -> str:
        """Return what changes when the setting or anything learned does."""


class DetectorLayer(Layer):
    """The layer of a detector.

    Args:
        detector: fitted.
        units: of one look.
    """

    def __init__(self, detector: Scorer, units: tuple[Unit, ...]) -> None:
        self.detector, self.units = detector, units

    def fingerprint(self) -> str:
        """See :meth:`Layer.fingerprint`."""
        return self.detector.fingerprint()

    @torch.no_grad()
    def refused(self, inner: Target, inputs: Samples, scores: Tensor, also_alone: Tensor | None = None) -> Tensor:
        """Tell which inputs are refused, bool ``[B]`` on the CPU, whatever their neighbors.

        Args:
            inner: what the inputs are for.
            inputs: valid inputs.
            scores: of all rows, seen in one batch.
            also_alone: inputs to look at one by one in any case, bool ``[B]``.
        """
        model = self.detector.ready.model
        alarm = self.detector.alarm(whole(inner, scores)).cpu()
        near = alarm.abs() < TIE * max(1.0, abs(self.detector.ready.threshold))
        alone = near if also_alone is None else near | also_alone
        if len(inputs) > 1:
            for row in alone.nonzero().flatten().tolist():
                one = take(inputs, torch.tensor([row]))
                alarm[row] = self.detector.alarm(whole(inner, self.detector.suspicion(inner, one, model))).item()
        return alarm > 0

    def sounded(self, found: Signals, scores: Tensor) -> Tensor:
        """Return the alarm for each row of ``found``, also that of detectors further inside."""
        own = self.detector.alarm(scores)
        return own if found.alarm is None else torch.maximum(own, found.alarm)

    def once(self, inner: Target, found: Signals, inputs: Samples) -> Work:
        """Return the work of ``found`` and one look per picture; of videos, rows are frames."""
        return self.charge(found.work, frames_of(inner.space) if len(found.work) == len(inputs) else 1)


class Gatekeeper(DetectorLayer):
    """Looks at inputs and turns the suspicious ones away before the target runs."""

    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """See :meth:`Layer.run`."""
        with torch.no_grad():
            scores = self.detector.suspicion(inner, inputs, self.detector.ready.model)
        outcome = run_passed(inner, inputs, self.refused(inner, inputs, scores))
        return replace(outcome, work=self.charge(outcome.work, self.times(inner.space)))

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; of refused inputs too, whose work inside is 0."""
        found = inner.signals(inputs)
        scores = self.detector.suspicion(inner, inputs, self.detector.ready.model)
        turned = self.detector.alarm(whole(inner, scores.detach())) > 0
        turned = turned.repeat_interleave(len(found.work) // len(turned)).to(found.work.counts.device)
        passed = replace(found, work=Work(found.work.counts.masked_fill(turned.unsqueeze(1), 0)))
        return replace(passed, work=self.once(inner, passed, inputs), alarm=self.sounded(found, scores))

    def least_work(self, inner: Target) -> Work:
        """See :meth:`Layer.least_work`: a look at what is refused."""
        return self.charge(Work(torch.zeros(1, len(inner.units), dtype=torch.int64)), self.times(inner.space))


def whole(target: Target, scores: Tensor) -> Tensor:
    """Return the score of each input, the largest of its frames'."""
    return scores.view(-1, frames_of(target.space)).amax(1)
