"""Targets whose gates decide how much is computed: what is measured of them, and what they must offer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples, redo_alone
from torpor.core.criteria import Criterion, PreservesPrediction, Slowdown
from torpor.core.errors import DataError, UsageError
from torpor.core.measures import Measure
from torpor.core.signals import GateSignals
from torpor.core.space import DenseSpace
from torpor.core.units import Behavior
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.metrics.efficacy import CLASS, EXITS, efficacy_eec, efficacy_step, exit_histogram, exit_summary
from torpor.targets.base import Target
from torpor.targets.family import Columns, Family


class GateFamily(Family[Any]):
    """Any mechanism whose gates save units: layer skipping, halting, token pruning. Early exit has a family of its own.

    Outputs are class scores ``[B, C]``, unless a subclass defines others.
    """

    id: ClassVar[str] = "gates"
    behavior: ClassVar[Behavior] = Behavior.COMPUTATION
    measures: ClassVar[tuple[Measure, ...]] = (CLASS,)
    signals: ClassVar[type | None] = GateSignals
    default_attacks: ClassVar[tuple[str, ...]] = ("standard",)
    success: ClassVar[Criterion] = Slowdown(2) & PreservesPrediction()

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        return {"reference": references if isinstance(references, Tensor) and len(references) else None}

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401
        """Return NaN for the score of each class.

        Raises:
            UsageError: if the target does not tell how many classes there are.
        """
        if "classes" not in (details := target.details()):
            raise UsageError(
                f"expected details() of {target.name} to tell how many classes there are, got {sorted(details)}; "
                "return {'classes': C}, or define blank() in a family of its own"
            )
        return torch.full((count, int(details["classes"])), torch.nan, device=target.device)

    def answers(self, target: Any, signals: GateSignals) -> Tensor | None:  # noqa: ANN401
        """Return class probabilities at each exit; None where there are no exits."""
        return None if signals.logits is None else signals.logits.softmax(-1)


class EarlyExitFamily(GateFamily):
    """Networks that stop at the first exit that is sure enough."""

    id: ClassVar[str] = "early-exit"
    needs: ClassVar[tuple[str, ...]] = ("exits", "exit_costs", "rule")
    measures: ClassVar[tuple[Measure, ...]] = (*GateFamily.measures, *EXITS)

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "exit": target.exits(outcome.work)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return exit_summary(columns["exit"], bare.exit_costs)

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        costs, taken = target.exit_costs.numpy(), target.exits(work).numpy()
        return {
            "rule": target.rule.describe(),
            "exit_histogram": exit_histogram(taken, len(costs)).tolist(),
            "efficacy_step": efficacy_step(taken, costs),
            "efficacy_eec": efficacy_eec(taken, costs),
        }

    @override
    def profile_rows(self, profile: Mapping[str, Any]) -> list[tuple[str, str]]:
        total = sum(profile["exit_histogram"])
        shares = [f"{place}: {count / total:.1%}" for place, count in enumerate(profile["exit_histogram"])]
        return [
            ("exit rule", profile["rule"]),
            ("leave at exit", ", ".join(shares)),
            ("early-exit efficacy", f"{profile['efficacy_step']:.4f} (1 - mean cost)"),
            ("", f"{profile['efficacy_eec']:.4f} (trapezoid, as in DeepSloth)"),
        ]

    @override
    def traits(self, target: Any, signals: GateSignals) -> Tensor:
        from torpor.targets.early_exit.traits import of_exits

        return of_exits(signals, target.exits(signals.work), len(target.exit_costs))


class Classifier(Target):
    """A target that answers with class scores ``[B, C]``, whatever it reads.

    Attributes:
        classes: how many it knows.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.
    """

    classes: int
    source: Callable[[Path | None], DataSet] | None = None

    @override
    def details(self) -> dict[str, Any]:
        return {"classes": self.classes}

    @override
    def labels(self, outputs: Tensor, references: Tensor | None) -> Tensor:
        if references is None:
            return outputs.argmax(-1)
        if not (references.min() >= 0 and references.max() < self.classes):
            raise DataError(
                f"expected classes from 0 to {self.classes - 1}, as {self.name} knows them, got references from "
                f"{int(references.min())} to {int(references.max())}; relabel the data"
            )
        return references.to(self.device)

    @override
    def utility(self, outputs: Tensor, references: Tensor | tuple[()]) -> Tensor:
        """Return 1 where the predicted class is the reference class, else 0; no answer, NaN, is a wrong one.

        Without references it is NaN.
        """
        if not isinstance(references, Tensor):
            return torch.full((len(outputs),), torch.nan, dtype=torch.float64)
        return (predicted(outputs).cpu() == references.cpu()).to(torch.float64)

    @override
    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        """Tell where the predicted class is that of the clean output; no answer, NaN, is none."""
        return (predicted(outputs) == clean.argmax(-1)).cpu()

    @override
    def data(self, folder: Path | None) -> DataSet:
        return super().data(folder) if self.source is None else self.source(folder)


class GateTarget(Target):
    """A target with gates, each of which may save units that come after it."""

    family = GateFamily()
    space: DenseSpace

    @abstractmethod
    def signals(self, inputs: Tensor) -> GateSignals:
        """Evaluate every gate, differentiably."""


class GatedClassifier(Classifier, GateTarget):
    """A target with gates that reads dense inputs and answers with class scores ``[B, C]``."""


class BatchedClassifier(GatedClassifier):
    """A :class:`GatedClassifier` whose batches may round a gate otherwise than a sample alone.

    Attributes:
        tie: a margin this small is decided by a run of that sample alone.
    """

    tie: ClassVar[float]

    @abstractmethod
    def _pass(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run one batch: scores ``[B, C]``, what was decided ``[B, ...]``, and the least gap to a threshold ``[B]``."""

    def nearest(self, count: int) -> float:
        """Return the margin below which a sample among ``count`` is decided by a run of it alone."""
        return self.tie

    @abstractmethod
    def _work(self, decided: Tensor) -> Work:
        """Turn what was decided into counts."""

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        """Return class scores and work.

        Neither depends on neighbors in the batch: where batched arithmetic comes within ``tie`` of a threshold, the
        sample is decided by a run of its own.

        Raises:
            UsageError: if the network returns no numbers.
        """
        outputs, decided, gap = self._pass(self.space.check(inputs))
        if len(inputs) > 1:
            redo_alone(
                (outputs, decided), gap, self.nearest(len(inputs)), lambda row: self._pass(inputs[row : row + 1])[:2]
            )
        if outputs.isnan().any() or gap.isnan().any():
            self._refuse_nan(inputs)
        return Outcome(outputs, self._work(decided))

    def _refuse_nan(self, inputs: Tensor) -> NoReturn:
        """Raise an error that names what is no number."""
        raise UsageError(f"expected numbers from {self.name}, got NaN; check its weights")


def class_count(scores: Tensor) -> int:
    """Return how many classes a head has that returned ``scores`` for a batch.

    Raises:
        UsageError: if they are not ``[B, C]`` with two classes or more.

    >>> class_count(torch.zeros(1, 10))
    10
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise UsageError(f"expected class scores [B, C] from the head, got shape {list(scores.shape)}")
    return scores.shape[1]


def predicted(logits: Tensor) -> Tensor:
    """Return the class of largest logit, int64 ``[B]``; -1 where there is no answer: NaN.

    >>> predicted(torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])).tolist()
    [1, -1]
    """
    return torch.where(logits.isnan().any(-1), -1, logits.argmax(-1))
