"""The caps to choose from: what every guard that applies to a target declares, and combinations of two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.defenses.chain import Chain
from torpor.defenses.guards.base import Guard
from torpor.defenses.registry import DEFENSES
from torpor.targets.base import Target

THINNED = 4
"""Of a combination, every so many settings of each guard, and the strictest."""


@dataclass(frozen=True)
class CapLadder:
    """The settings of one guard on one target.

    Attributes:
        kind: id of the guard.
        rungs: fitted, the loosest first.
    """

    kind: str
    rungs: tuple[Guard, ...]


@dataclass(frozen=True, eq=False)
class CapChoice:
    """A target with caps that may be recommended.

    Attributes:
        target: with these caps.
        defense: a guard or a chain of guards, fitted; None for the target as it is.
        places: for each ladder that it uses the number of the rung, from 0.
    """

    target: Target
    defense: Guard | Chain | None = None
    places: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the command line and audits call these caps."""
        return "none" if self.defense is None else self.defense.name

    def is_looser(self, other: CapChoice) -> bool:
        """Tell whether it caps nothing more strictly than ``other`` and something less.

        >>> from torpor.targets.early_exit.toys import needle
        >>> free, strict = (CapChoice(needle(), None, places) for places in ({}, {"deadline": 1}))
        >>> free.is_looser(strict), strict.is_looser(free), free.is_looser(free)
        (True, False, False)
        """
        pairs = [(self.places.get(kind, -1), other.places.get(kind, -1)) for kind in {*self.places, *other.places}]
        return all(mine <= its for mine, its in pairs) and any(mine < its for mine, its in pairs)


def ladders(
    target: Target,
    data: DataSet | None,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[CapLadder]:
    """Return the ladder of every guard that applies to ``target`` and has settings to choose from.

    Args:
        target: without guards.
        data: what guards learn from: its validation split; None if there is none.
        seed: of all randomness.
        kinds: ids of guards; all if None.
        tell: called with a sentence on each guard that is left out.

    Raises:
        UsageError: if one of ``kinds`` is no guard or does not apply, or if there is no guard at all.

    >>> from torpor.targets.early_exit.toys import needle
    >>> toy = needle()
    >>> [(each.kind, [rung.name for rung in each.rungs]) for each in ladders(toy, None, kinds=["deadline"])]
    [('deadline', ['deadline:3', 'deadline:2'])]
    """
    found = []
    for name in dict.fromkeys(DEFENSES.names() if kinds is None else kinds):
        kind = DEFENSES.find(name)
        if not issubclass(kind, Guard):
            if kinds is not None:
                raise UsageError(f"expected guards, which cap work, got {name}; see: torpor list defenses")
            continue
        if not kind.applies_to(target):
            if kinds is not None:
                raise UsageError(f"expected guards for {target.mechanism}, got {name}; see: torpor list defenses")
            continue
        rungs = kind.ladder(target)
        if rungs and rungs[0].unset and data is not None and not data.has("validation"):
            tell(f"Without {name}: it learns from inputs beside those that are attacked, and there are none.")
            continue
        try:
            rungs = _fitted(rungs, target, data, seed)
        except DataError as error:
            tell(f"Without {name}: {error}")
            continue
        if rungs:
            found.append(CapLadder(name, rungs))
    if not found:
        raise UsageError(
            f"expected a target with caps that can be lowered, got {target.name} ({target.mechanism}) without any; "
            "let it offer rungs() and at_rung(), or write a guard with a ladder()"
        )
    return found


def _fitted(rungs: tuple[Guard, ...], target: Target, data: DataSet | None, seed: int) -> tuple[Guard, ...]:
    """Return all rungs with what one of them has learned."""
    if not rungs or not rungs[0].unset:
        return rungs
    if data is None:
        raise DataError(f"expected data for {rungs[0].id} to learn from, got none; pass some")
    learned = rungs[0].prepared(target, data, (), seed).state()
    return tuple(rung.with_state(learned) for rung in rungs)


def choices(target: Target, of: Sequence[CapLadder]) -> list[CapChoice]:
    """Return the target as it is, with each rung of each ladder, and with two guards that cap different units.

    Guards that cap the same units replace each other, and what declares no units lowers all of a target's caps already.
    """
    found = [CapChoice(target)]
    found += [
        CapChoice(rung.defend(target), rung, {each.kind: place}) for each in of for place, rung in enumerate(each.rungs)
    ]
    for one, other in combinations(of, 2):
        caps = [set(type(each.rungs[0]).caps) for each in (one, other)]
        if all(caps) and caps[0] != caps[1]:
            for place, rung in _thinned(one):
                for second, beside in _thinned(other):
                    both = Chain((rung, beside))
                    found.append(CapChoice(both.defend(target), both, {one.kind: place, other.kind: second}))
    return found


def _thinned(ladder: CapLadder) -> Iterator[tuple[int, Guard]]:
    last = len(ladder.rungs) - 1
    return ((place, rung) for place, rung in enumerate(ladder.rungs) if place % THINNED == 0 or place == last)
