"""The contract of tampering: what is done to a target before it is deployed, such as poisoning its training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, final

from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.registry import MARK
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

BEFORE_DEPLOYMENT = (Stage.POISONING, Stage.BACKDOOR, Stage.WEIGHTS)
"""Stages at which a tampering strikes."""
CONTROL = "control=true"
"""The option that makes a tampering its own control."""


@dataclass(frozen=True, kw_only=True)
class Tampering(ABC):
    """An attack on the model or its training data: a frozen configuration that turns a target into a tampered one.

    Subclasses write :meth:`tamper`, and :meth:`trigger` where inputs must carry something to set it off; one that
    learns its trigger writes :meth:`fitted`, :meth:`state` and :meth:`with_state`. A tampered target is a target of the same
    family with the same units, so that work means the same and clean cost before and after can be compared; the call
    checks that.

    Attributes:
        id: what the command line and rows of audits call it.
        paper: where it is from; None if it is no paper's.
        stage: when it strikes: poisoning (of training data), backdoor, or weights.
        needs: capabilities that a target must offer.
        for_targets: what it is made for, in words, for messages.
        triggered: whether inputs must carry a trigger; without one, every input costs more.
        control: whether to do the same without the attack: clean fine-tuning on the same data, steps and seed, or edits
            of the same size at random.
        options: other settings as a user typed them; they are part of the name.
    """

    id: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    stage: ClassVar[Stage]
    needs: ClassVar[tuple[str, ...]] = ()
    for_targets: ClassVar[str] = "targets"
    triggered: ClassVar[bool] = True

    control: bool = False
    options: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What rows of an audit call it: see :attr:`torpor.audits.conditions.Condition.tampering`."""
        said = (*self.options, CONTROL) if self.control and CONTROL not in self.options else self.options
        return MARK.join((self.id, *said))

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """Tell whether it can be done to ``target``."""
        return target.offers(*cls.needs)

    @classmethod
    def check(cls, target: Target) -> None:
        """Refuse targets that it cannot be done to.

        Raises:
            UsageError: if so.
        """
        if not cls.applies_to(target):
            raise UsageError(
                f"expected {cls.for_targets} for {cls.id}, got {target.name} ({target.mechanism}); "
                "see: torpor list tamperings"
            )

    def budget(self, target: Target) -> Budget | None:
        """Return how far the trigger changes an input of ``target``; None without a trigger."""
        return None

    def fitted(self, target: Target, train: DataSet, seed: int) -> Self:
        """Return this configuration with the trigger that it has learned; by default there is nothing to learn."""
        return self

    def state(self) -> Mapping[str, Tensor]:
        """Return what was learned; see :class:`~torpor.core.fitted.Fitted`."""
        return {}

    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        """Return the tampering fitted with what another one's :meth:`state` returned."""
        return self

    @abstractmethod
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:  # noqa: ANN401 - of the kind that it is for
        """Return ``target`` as it is deployed after the attack; ``target`` itself stays as it is.

        Args:
            target: to be tampered with.
            train: data, of whose splits ``"test"`` stays unseen.
            seed: of all randomness.
        """

    def trigger(self, inputs: Samples) -> Samples:
        """Return inputs that carry what sets the attack off; by default they need nothing."""
        return inputs

    @final
    def __call__(self, target: Target, train: DataSet, seed: int = 0) -> Target:
        """Return the tampered target; a tampering that learns its trigger must be :meth:`fitted` before.

        Raises:
            UsageError: if the target is not what it is for, or it is the same object, of another family, or counts
                other units.
        """
        self.check(target)
        tampered = self.tamper(target, train, seed)
        if tampered is target:
            raise UsageError(f"expected {self.id} to return a tampered copy of {target.name}, got the target itself")
        if (tampered.family.id, tampered.units) != (target.family.id, target.units):
            raise UsageError(
                f"expected {self.id} to leave family and units of {target.name} alone, got {tampered.family.id} with "
                f"{', '.join(unit.name for unit in tampered.units)}; costs could not be compared"
            )
        if self.stage not in BEFORE_DEPLOYMENT:
            stages = ", ".join(stage.value for stage in BEFORE_DEPLOYMENT)
            raise UsageError(f"expected a stage of {self.id} among {stages}, got {self.stage.value}")
        tampered.tampering = self.name
        return tampered

    @final
    def apply(self, target: Target, train: DataSet | None = None, seed: int = 0) -> Tampered:
        """Learn the trigger, if there is one to learn, and tamper with a copy of ``target``.

        Args:
            target: a clean one, which stays as it is.
            train: data to learn from; the target's own if None.
            seed: of all randomness.

        Raises:
            UsageError: as calling it does.
            DataError: if there are no data to learn from.
        """
        self.check(target)
        data = target.data(None) if train is None else train
        known = self.fitted(target, data, seed)
        return Tampered(known(target, data, seed), known, seed)

    def as_control(self) -> Self:
        """Return the control: the same data, steps and seed without the attack."""
        return replace(self, control=True)


@dataclass(frozen=True, eq=False)
class Tampered:
    """What a tampering made.

    Attributes:
        target: the tampered target, which is deployed.
        tampering: what was done to it, with the trigger that was learned.
        seed: of all randomness.
    """

    target: Target
    tampering: Tampering
    seed: int

    def trigger(self, inputs: Samples) -> Samples:
        """Return inputs as files hold them that carry the trigger."""
        return self.target.space.snap(self.tampering.trigger(inputs))
