"""Attacks by the names that the command line and audits use."""

from __future__ import annotations

from dataclasses import fields

from torpor.attacks.base import Attack
from torpor.attacks.controls import Flat, Noise, Shuffled
from torpor.attacks.deepsloth import DeepSloth
from torpor.attacks.pgd import PGD, PGDAvg, PGDMax
from torpor.attacks.square import Square
from torpor.attacks.standard import Standard
from torpor.attacks.uap import UAP
from torpor.attacks.universal import DeepSlothClassUniversal, DeepSlothUniversal
from torpor.core.errors import UsageError

ATTACKS: dict[str, type[Attack]] = {
    attack.id: attack
    for attack in (
        DeepSloth,
        DeepSlothUniversal,
        DeepSlothClassUniversal,
        PGD,
        PGDAvg,
        PGDMax,
        UAP,
        Square,
        Standard,
        Noise,
        Flat,
        Shuffled,
    )
}


def attack_ids() -> tuple[str, ...]:
    """Return the names of all attacks, controls last.

    >>> attack_ids()[0]
    'deepsloth'
    """
    return tuple(ATTACKS)


def load_attack(
    name: str, *, norm: str | None = None, eps: float | str | None = None, steps: int | None = None
) -> Attack:
    """Build an attack by name; controls that need another attack's result are made by the audit.

    Args:
        name: one of :func:`attack_ids`.
        norm: of the budget; the attack's own if None.
        eps: radius, a number or a fraction such as ``"8/255"``, or a number of edits; the attack's own if None.
        steps: iterations, for attacks that iterate; the attack's own if None.

    Raises:
        UsageError: on an unknown name, or settings that the attack does not have.

    >>> load_attack("deepsloth", eps="8/255").budget.norm
    'Linf'
    """
    if name not in ATTACKS or name == Shuffled.id:
        known = ", ".join(key for key in ATTACKS if key != Shuffled.id)
        raise UsageError(f"expected an attack among {known}, got {name!r}")
    kind = ATTACKS[name]
    budget = kind.default_budget(norm, eps)
    if steps is None:
        return kind(norm=budget.norm, eps=budget.eps)
    if not takes_steps(kind):
        raise UsageError(f"expected no number of steps for {name}, got {steps}; leave it out")
    return kind(norm=budget.norm, eps=budget.eps, steps=steps)  # type: ignore[call-arg]


def takes_steps(kind: type[Attack] | None) -> bool:
    """Tell whether an attack can be given a number of iterations."""
    return kind is not None and any(field.name == "steps" for field in fields(kind))
