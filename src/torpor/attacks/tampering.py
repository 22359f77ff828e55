"""The contract of tampering: what is done to a target before it is deployed, such as poisoning its training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

BEFORE_DEPLOYMENT = (Stage.POISONING, Stage.BACKDOOR, Stage.WEIGHTS)
"""Stages at which a tampering strikes."""


@dataclass(frozen=True)
class Tampering(ABC):
    """An attack on the model or its training data: a frozen configuration that turns a target into a tampered one.

    Subclasses write :meth:`tamper`, and :meth:`trigger` where inputs must carry something to set it off. A tampered
    target is a target of the same family with the same units, so that work means the same and clean cost before and
    after can be compared; the call checks that.

    Attributes:
        id: what the command line and rows of audits call it.
        paper: where it is from; None if it is no paper's.
        stage: when it strikes: poisoning (of training data), backdoor, or weights.
    """

    id: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    stage: ClassVar[Stage]

    @property
    def name(self) -> str:
        """What rows of an audit call it: see :attr:`torpor.audits.conditions.Condition.tampering`."""
        return self.id

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
        """Return the tampered target.

        Raises:
            UsageError: if it is the same object, of another family, or counts other units.
        """
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
        return tampered
