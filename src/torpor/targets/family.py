"""Families: everything that audits, reports and defenses ask of a *kind* of target."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.criteria import Criterion, Slowdown
from torpor.core.errors import UsageError
from torpor.core.measures import COST, Headline, Measure
from torpor.core.units import Behavior
from torpor.core.work import Outcome, Work

TargetT = TypeVar("TargetT")
Columns = Mapping[str, Any]
"""One sequence or array ``[N]`` per name; None where the column is not defined for these samples."""


@dataclass(frozen=True, eq=False)
class Ran(Generic[TargetT]):
    """Inputs, and what a target made of them.

    Attributes:
        target: what ran, perhaps defended.
        inputs: as the target takes them.
        outcome: of running them.
    """

    target: TargetT
    inputs: Samples
    outcome: Outcome

    @cached_property
    def signals(self) -> Any:  # noqa: ANN401 - of the family's type
        """Signals of the inputs, without gradients; evaluated when they are first asked for, and once."""
        target: Any = self.target
        with torch.no_grad():
            return target.signals(self.inputs)


class Family(ABC, Generic[TargetT]):
    """A kind of target: what it measures beside cost, and what the other packages must know about it.

    A plug-in writes a subclass beside its target. Targets of one family may be wrapped by defenses, so that methods
    ask them for what they do, never for their class.

    Attributes:
        id: of the family, such as ``"early-exit"``; audits and reports know it by this name.
        behavior: which of the study's three behaviors inputs can move.
        measures: what it adds to records (level ``"sample"``) and to rows of the summary (level ``"row"``).
        signals: the type that its targets' ``signals`` returns; None if they have none, as a black box.
        default_attacks: what ``torpor audit`` runs by default.
        needs: capabilities that its targets must offer, since its measures ask for them.
        batch_size: samples per batch, and per shard on disk: few where attacking one takes long.
        by_chance: whether random search of as many queries is a control, since random inputs already find much.
        success: what counts as a success of an attack.
    """

    id: ClassVar[str]
    behavior: ClassVar[Behavior]
    measures: ClassVar[tuple[Measure, ...]] = ()
    signals: ClassVar[type | None] = None
    default_attacks: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    batch_size: ClassVar[int] = 128
    by_chance: ClassVar[bool] = False
    success: ClassVar[Criterion] = Slowdown(2)

    def check(self, target: Any) -> None:  # noqa: ANN401 - whatever calls itself one of this family
        """Refuse targets that are none of this family, before anything is measured of them.

        Raises:
            UsageError: if so.
        """
        if missing := [name for name in self.needs if not target.offers(name)]:
            raise UsageError(
                f"expected targets of the family {self.id} to offer {', '.join(self.needs)}, got {target.name} "
                f"({target.mechanism}) without {', '.join(missing)}; give it a family of its own"
            )

    def attacks_on(self, target: TargetT) -> tuple[str, ...]:
        """Return the names of the attacks that ``torpor audit`` runs on ``target`` by default."""
        return self.default_attacks

    def standard_on(self, target: TargetT) -> str:
        """Return the name of the ensemble that users mean by ``standard`` on ``target``."""
        return "standard"

    def headlines(self, target: TargetT) -> tuple[Headline, ...]:
        """Return the figures that a report may begin with: it begins with the one that attacks moved most.

        By default cost, in the target's currency. A family declares others where they tell more of its targets, such
        as sequential steps, or the objects that a detector hands on to what the audit does not see.
        """
        return (COST,)

    def observe(self, target: TargetT, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        """Return the family's columns of a batch: one value per sample for each measure of level ``"sample"``.

        Args:
            target: what ran, perhaps defended.
            clean: outputs and work of the clean inputs on the undefended target.
            outcome: of these inputs on ``target``.
            static: bound of each of these inputs.
            references: of the samples; empty if the data have none.
        """
        return {}

    def locate(self, clean: Ran[TargetT], attacked: Ran[TargetT], budget: Budget) -> Columns:
        """Return columns of an attacked batch that tell where in its inputs work was done.

        They are measures of level ``"sample"`` that are null in records of clean inputs, which have no budget, and
        where a defense moves what inputs show.

        Args:
            clean: the inputs without attack, the same object for each attack on them; what defends the target, if
                anything, moves nothing.
            attacked: the same inputs, attacked, on the same target.
            budget: how far they could be changed.
        """
        return {}

    def summarize(self, target: TargetT, bare: TargetT, columns: Columns) -> Mapping[str, Any]:
        """Return the family's keys of a row of the summary, for measures of level ``"row"``; None: not defined.

        Args:
            target: what ran, perhaps defended.
            bare: the same without any defense.
            columns: of the row's records, those of every audit included, one list ``[N]`` per name.
        """
        return {}

    def replay(self, target: TargetT, clean: Samples, attacked: Samples) -> Mapping[str, Any]:
        """Return keys of a row of the undefended target that need runs of its saved inputs in another setting."""
        return {}

    def flags(self, columns: Columns) -> Sequence[str]:
        """Return reliability flags of a row that this family alone knows, beside those of every audit.

        Args:
            columns: of the row's records, one list ``[N]`` per name.
        """
        return ()

    def untimed(self, target: TargetT) -> str:
        """Say why inputs of ``target`` are not run again and again to be timed; empty if they are."""
        return ""

    def from_clock(self, latency_slowdown: float | None) -> Mapping[str, Any]:
        """Return keys of a row that follow from how much longer attacked inputs took; None if unknown."""
        return {}

    def clock(self, target: TargetT, inputs: Samples) -> dict[str, Any] | None:
        """Return what the units take by the clock of this device; see :func:`torpor.meters.calibration.unit_clock`.

        Args:
            target: without any defense.
            inputs: one clean input.
        """
        from torpor.meters.calibration import unit_clock

        return unit_clock(target, inputs)

    def exhausted(self, columns: Columns, caps: Columns) -> list[bool] | None:
        """Tell which samples ran up to a cap of their own below the static bound; None where there is no such cap.

        Args:
            columns: of records.
            caps: of the records whose caps hold, sample by sample.
        """
        return None

    def held(self, columns: Columns) -> list[bool] | None:
        """Tell where something other than the target's own decision ended the run, so that no gradient is at fault."""
        return None

    def example(self, target: TargetT, outcome: Outcome) -> dict[str, Samples]:
        """Return what is stored beside a saved input: a tensor ``[B, ...]`` or a tuple of texts by name."""
        return {}

    def profile(self, target: TargetT, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        """Return what a profile of clean inputs shows of this family.

        Args:
            target: what ran.
            work: of all samples, ``[N, U]``.
            outputs: of all samples.
        """
        return {}

    def profile_rows(self, profile: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what :meth:`profile` found as names and values, in words; by default each number under its name."""
        names = {each.name: each.title for each in self.measures if each.level == "row"}
        return [(names[key], f"{value:,.4g}") for key, value in profile.items() if key in names and value is not None]

    def blank(self, target: TargetT, count: int) -> Samples:
        """Return the outputs of ``count`` inputs that a detector rejected before the target ran.

        Raises:
            UsageError: if the family does not define it.
        """
        raise UsageError(
            f"expected the family of {self.id} targets to define what a rejected input returns, got none; write blank()"
        )

    def answers(self, target: TargetT, signals: Any) -> Tensor | None:  # noqa: ANN401 - of this family's type
        """Return the answers of a run, as shares from 0 to 1 ``[B, N, C]``, differentiable; None if they are not.

        Two runs with the same answers have the same shares: such as class probabilities at each exit or decoder step.
        """
        return None

    def traits(self, target: TargetT, signals: Any) -> Tensor | None:  # noqa: ANN401 - of this family's type
        """Return what a detector of traces reads of a run, ``[B, F]``, differentiable; None if there is nothing."""
        return None
