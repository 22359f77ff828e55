"""The rows of the contract: every attack, with each of its norms, on every target that it applies to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from torpor.attacks.base import Attack
from torpor.attacks.registry import ATTACKS
from torpor.core.budget import PATCHES
from torpor.targets.base import Target

Row = tuple[str, str, str]
"""Names of a target, a norm and an attack."""


ELSEWHERE = PATCHES[1:]
"""Patches that differ from the first by their place alone; see the tests of patches."""


def own_attacks() -> list[type[Attack]]:
    """Return torpor's own attacks, not those of plug-ins."""
    kinds = [ATTACKS.find(name) for name in ATTACKS.names()]
    return [kind for kind in kinds if kind.__module__.startswith("torpor.")]


def rows_of(targets: Mapping[str, Callable[[], Target]]) -> list[Row]:
    """Return the rows of ``targets``, as attacks themselves say what they apply to."""
    built = {name: make() for name, make in targets.items()}
    return [
        (name, norm, attack.id)
        for name, target in built.items()
        for attack in own_attacks()
        for norm in attack.norms
        if attack.applies_to(target) and norm in target.space.norms and norm not in ELSEWHERE
    ]


def with_one_norm(rows: Sequence[Row], networks: Collection[str]) -> list[Row]:
    """Return the rows, of ``networks`` only those of each attack's first norm: how far inputs may move, toys show."""
    first = {(target, name): norm for target, norm, name in reversed(rows)}
    return [row for row in rows if row[0] not in networks or first[row[0], row[2]] == row[1]]
