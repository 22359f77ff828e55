"""Trace detectors: the target's own signals, which a run computes anyway, tell attacks from hard inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.signals import Signals
from torpor.core.work import Outcome
from torpor.defenses.detectors.base import Detector, in_chunks
from torpor.defenses.detectors.layers import DetectorLayer
from torpor.defenses.detectors.models import Tensors, fit_linear, linear
from torpor.defenses.detectors.rejection import without
from torpor.defenses.layer import Layer
from torpor.meters.flops import counting
from torpor.targets.base import Target


@dataclass(frozen=True)
class Trace(Detector):
    """Flag inputs by logistic regression on what the run itself computed, as the target's family defines it.

    The target runs first, so the attack's cost is spent, but its output is withheld and its sender is known. The
    detector reads numbers that are there already, and adds one product of vectors. Here they are computed a second
    time, since targets do not hand them out, so the clock sees a cost that a deployment would not have; work does not.
    """

    id: ClassVar[str] = "trace"
    looks: ClassVar[Literal["input", "trace"]] = "trace"

    @override
    def learn(self, target: Target, clean: Samples, attacked: Samples, seed: int) -> Tensors:
        def features(inputs: Samples) -> Tensor:
            return in_chunks(lambda part: read(target, target.signals(part)), inputs)

        return fit_linear(features(clean), features(attacked), seed)

    @override
    def row_scores(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        return self.of_signals(target, target.signals(inputs), model)

    def of_signals(self, target: Target, signals: Signals, model: Tensors) -> Tensor:
        """Return the score of each row of ``signals``."""
        return linear(model, read(target, signals))

    @override
    def layer(self, target: Target) -> Layer:
        return TraceLayer(self, target, self.units(target))

    def flops(self, target: Target) -> int:
        """Return the FLOPs of the regression; what it reads is there already."""
        count = len(self.ready.model["mean"])
        with counting() as counter:
            linear(self.ready.model, torch.zeros(1, count))
        return counter.flops


class TraceLayer(DetectorLayer):
    """Lets the target run, and withholds outputs whose run has a high score; it reads the target that ran."""

    detector: Trace

    @override
    def scores(self, inner: Target, inputs: Samples) -> Tensor:
        return self.detector.row_scores(inner, inputs, self.detector.ready.model)

    @override
    def run(self, inner: Target, inputs: Samples) -> Outcome:
        outcome = inner.run(inputs)
        with torch.no_grad():
            found = inner.signals(inputs)
            scores = self.detector.of_signals(inner, found, self.detector.ready.model)
        seen, ran = found.work.counts, outcome.work.counts
        other = (seen != ran).any(1) if seen.shape == ran.shape else None  # decided by a run of its own: look there
        told = without(inner, outcome, self.rejected(inner, inputs, scores, other))
        return replace(told, work=self.charge(told.work, self.times(inner.space)))

    @override
    def signals(self, inner: Target, inputs: Samples) -> Signals:
        found = inner.signals(inputs)
        scores = self.detector.of_signals(inner, found, self.detector.ready.model)
        return replace(found, work=self.charge_rows(inner, found), alarm=self.sounded(found, scores))


def read(target: Target, signals: Signals) -> Tensor:
    """Return what a detector reads of ``signals``, ``[R, F]``.

    Raises:
        UsageError: if the target's family does not offer it.
    """
    found = target.family.traits(target, signals)
    if found is None:
        raise UsageError(f"expected a family whose traces can be read, got {target.family.id}; write its traits()")
    return found
