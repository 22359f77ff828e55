"""The contract of a defense: a model-free setting that turns a target into a defended one, which is a target too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from torpor.attacks.base import Attack
from torpor.core.errors import DataError, UsageError
from torpor.core.threat import Paper
from torpor.data.sets import DataSet
from torpor.defenses.settings import whole
from torpor.targets.base import Target

JOINT = "+"
"""What stands between the names of defenses that are chained."""
LEARNED = 200
"""Clean inputs that detectors learn from at most; of videos, frames."""


@dataclass(frozen=True)
class Defense(ABC):
    """The configuration of a defense, not yet applied to a target; hashable, printable.

    Attributes:
        id: what the command line and records call this kind of defense.
        paper: where it was published; None if it comes from no paper.
        caps: units that it bounds by construction, such as ``("decoder_step",)``.
        draws: whether it draws at random, so that attacks must hold for other draws than those that they saw.
        learns: whether it must be fitted before it can defend anything.
        setting: the field, a whole number, that :meth:`parse` sets; None for defenses without one.
    """

    id: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    caps: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    setting: ClassVar[str | None] = None

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the defense with the setting that follows ``ID:`` in its name; the default one for the empty text.

        Raises:
            UsageError: if it has no such setting.
        """
        if not value:
            return cls()
        if cls.setting is None:
            raise UsageError(f"expected no setting for {cls.id}, got {value!r}; leave it out")
        return cls(**{cls.setting: whole(cls.id, value)})

    @property
    def name(self) -> str:
        """What tells this setting from others, such as ``"jpeg:75"``; :meth:`parse` reads what follows the colon."""
        value = None if self.setting is None else getattr(self, self.setting)
        return self.id if value is None else f"{self.id}:{value}"

    @classmethod
    @abstractmethod
    def applies_to(cls, target: Target) -> bool:
        """Tell whether it can wrap ``target``."""

    def prepared(
        self, target: Target, data: DataSet, attacks: Sequence[Attack], seed: int, learned: int = LEARNED
    ) -> Self:
        """Return the defense after it has learned what it must from the train and validation splits of ``data``.

        Args:
            target: to be defended.
            data: whose test split stays unseen.
            attacks: fitted attacks whose results it may learn from.
            seed: of all randomness.
            learned: number of clean training inputs to attack and learn from, at most.

        Raises:
            DataError: if a split that it needs cannot be read.
        """
        return self

    def state(self) -> Mapping[str, Tensor]:
        """Return what was learned, see :class:`~torpor.core.fitted.Fitted`; empty if there is nothing to learn.

        Tensors are on the CPU, ready for safetensors.

        Raises:
            UsageError: if it is not fitted, or a kind that learns does not implement it.
        """
        if self.learns:
            raise UsageError(f"expected {self.id} to hand over what it has learned, got no state(); write it")
        return {}

    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        """Return this defense with what one of the same :attr:`name` has learned; :meth:`prepared` then keeps it.

        Raises:
            DataError: if ``state`` is not that of such a defense.
            UsageError: if a kind that learns does not implement it.
        """
        if self.learns:
            raise UsageError(f"expected {self.id} to take back what it has learned, got no with_state(); write it")
        self._check_state(state, ())
        return self

    def _check_state(self, state: Mapping[str, Tensor], names: Collection[str]) -> None:
        """Refuse states that do not have just these names."""
        if set(state) != set(names):
            raise DataError(
                f"expected {', '.join(sorted(names)) or 'nothing'} in what {self.name} has learned, got "
                f"{', '.join(sorted(state)) or 'nothing'}; fit it again"
            )

    @abstractmethod
    def defend(self, target: Target) -> Target:
        """Return ``target`` defended; it shares the target's networks.

        Raises:
            UsageError: if the defense does not apply, or must be fitted first.
        """

    def check(self, target: Target) -> None:
        """Refuse targets that this defense does not apply to.

        Raises:
            UsageError: if so.
        """
        if not self.applies_to(target):
            raise UsageError(
                f"expected a defense for {target.mechanism} with {target.space.kind} inputs, got {self.name}; "
                "see: torpor list defenses"
            )
