"""Families: everything that audits, reports and defenses ask of a *kind* of target."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.measures import Measure
from torpor.core.outcome import Outcome
from torpor.core.units import Behavior
from torpor.core.work import Work

if TYPE_CHECKING:
    from torpor.targets.base import Target

TargetT = TypeVar("TargetT", bound="Target")
Columns = Mapping[str, Any]
"""One sequence or array ``[N]`` per name; None where the column is not defined for these samples."""


class Family(ABC, Generic[TargetT]):
    """A kind of target: what it measures beside cost, and what the rest of the house must know of it.

    A plug-in writes a subclass beside its target. Targets of one family may be wrapped by defenses, so that methods
    ask them for what they do, never for their class.

    Attributes:
        id: of the family, such as ``"early-exit"``; audits and reports know it by this name.
        behavior: which of the study's three behaviors inputs can move.
        measures: what it adds to records (level ``"sample"``) and to rows of the summary (level ``"row"``).
        signals: the type that its targets' ``signals`` returns; None if they have none, as a black box.
        default_attacks: what ``torpor audit`` runs unless told otherwise.
        batch_size: samples per batch, and per shard on disk: few where attacking one takes long.
        by_chance: whether attacks find much by luck already, so that random search of as many queries is a control.
    """

    id: ClassVar[str]
    behavior: ClassVar[Behavior]
    measures: ClassVar[tuple[Measure, ...]] = ()
    signals: ClassVar[type | None] = None
    default_attacks: ClassVar[tuple[str, ...]] = ()
    batch_size: ClassVar[int] = 128
    by_chance: ClassVar[bool] = False

    def attacks_on(self, target: TargetT) -> tuple[str, ...]:
        """Return the names of the attacks that ``torpor audit`` runs on ``target`` unless told otherwise."""
        return self.default_attacks

    def observe(
        self, target: TargetT, clean: Outcome, outcome: Outcome, static: Work, references: Sequence[Any] | Tensor
    ) -> Columns:
        """Return the family's columns of a batch: one value per sample for each measure of level ``"sample"``.

        Args:
            target: what ran, perhaps defended.
            clean: outputs and work of the clean inputs on the undefended target.
            outcome: of these inputs on ``target``.
            static: bound of each of these inputs.
            references: of the samples; empty if the data have none.
        """
        return {}

    def summarize(self, target: TargetT, columns: Columns) -> Mapping[str, Any]:
        """Return the family's keys of a row of the summary, for each measure of level ``"row"``; None: not defined.

        Args:
            target: what ran.
            columns: of the row's records, ``work`` included, one array or list ``[N]`` per name.
        """
        return {}

    def profile(self, target: TargetT, work: Work, outputs: Sequence[Any]) -> Mapping[str, Any]:
        """Return what a profile of clean inputs says of this family.

        Args:
            target: what ran.
            work: of all samples, ``[N, U]``.
            outputs: of all samples, ``[N]``.
        """
        return {}

    def blank(self, target: TargetT, count: int) -> Samples:
        """Return the outputs of ``count`` inputs that a detector rejected before the target ran.

        Raises:
            UsageError: if the family does not say.
        """
        raise UsageError(f"expected {self.id} targets to say what a rejected input returns, got none; write blank()")

    def answers(self, target: TargetT, signals: Any) -> Tensor | None:  # noqa: ANN401 - of this family's type
        """Return what a run says, as shares from 0 to 1 ``[B, N, C]``, differentiable; None if it is not so.

        Two runs that say the same have the same shares: such as class probabilities at each exit or decoder step.
        """
        return None

    def traits(self, target: TargetT, signals: Any) -> Tensor | None:  # noqa: ANN401 - of this family's type
        """Return what a detector of traces reads of a run, ``[B, F]``, differentiable; None if there is nothing."""
        return None
