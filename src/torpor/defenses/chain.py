"""Defenses in series: inputs pass the first, then the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.defenses.base import JOINT, LEARNED, Defense
from torpor.defenses.guards.base import Guard
from torpor.targets.base import Target


@dataclass(frozen=True)
class Chain(Defense):
    """Several defenses in series, ``jpeg:75+svm``: the first one sees the input first.

    Guards come last. What learns learns from the target without transforms, as in the study, where the detector of raw
    images met smoothed ones.

    Attributes:
        parts: defenses, the outermost first.
    """

    id: ClassVar[str] = "chain"

    parts: tuple[Defense, ...] = ()

    @classmethod
    def parse(cls, value: str) -> Self:
        """Refuse: :func:`~torpor.defenses.registry.load_defense` reads chains."""
        raise UsageError(f"expected names of defenses joined by {JOINT}, got chain:{value}; such as jpeg:75+svm")

    @property
    @override
    def name(self) -> str:
        return JOINT.join(part.name for part in self.parts)

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """Return True: its parts are asked by :meth:`check`."""
        return True

    @override
    def check(self, target: Target) -> None:
        kinds = [isinstance(part, Guard) for part in self.parts]
        if kinds != sorted(kinds):
            raise UsageError(f"expected guards after all other defenses, got {self.name}; put them last")
        for part in self.parts:
            part.check(target)

    @override
    def prepared(
        self, target: Target, data: DataSet, attacks: Sequence[Attack], seed: int, learned: int = LEARNED
    ) -> Self:
        given = data, attacks, seed, learned
        guards = [part.prepared(target, *given) for part in self.parts if isinstance(part, Guard)]
        for guard in reversed(guards):
            target = guard.defend(target)
        others = [part.prepared(target, *given) for part in self.parts if not isinstance(part, Guard)]
        return type(self)((*others, *guards))

    def state(self) -> Mapping[str, Tensor]:
        """See :meth:`Defense.state`; names begin with the number of the part, from 0."""
        states = {number: part.state() for number, part in enumerate(self.parts)}
        return {f"{number}.{name}": value for number, state in states.items() for name, value in state.items()}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        states: dict[str, dict[str, Tensor]] = {str(number): {} for number in range(len(self.parts))}
        for key, value in state.items():
            number, _, name = key.partition(".")
            if number not in states:
                raise DataError(f"expected what {self.name} has learned, got {key} of no part of it; fit it again")
            states[number][name] = value
        pairs = zip(self.parts, states.values(), strict=True)
        return type(self)(tuple(part.with_state(own) for part, own in pairs))

    @override
    def defend(self, target: Target) -> Target:
        for part in reversed(self.parts):
            target = part.defend(target)
        return target
