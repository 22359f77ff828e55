"""Attacks by the names that the command line and audits use."""

from __future__ import annotations

from torpor.attacks.base import Attack
from torpor.attacks.controls import Flat, Noise, Shuffled
from torpor.attacks.deepsloth import DeepSloth
from torpor.attacks.gradient import GradientAttack
from torpor.attacks.pgd import PGD, PGDAvg, PGDMax
from torpor.attacks.square import Square
from torpor.attacks.standard import Standard
from torpor.attacks.uap import UAP
from torpor.attacks.universal import DeepSlothClassUniversal, DeepSlothUniversal
from torpor.core.budget import Budget
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
DEFAULT_EPS = {"Linf": 0.03125, "L2": 0.9**10, "L1": 8.0}
"""The DeepSloth paper's budget for each norm."""


def attack_ids() -> tuple[str, ...]:
    """Return the names of all attacks, controls last.

    >>> attack_ids()[0]
    'deepsloth'
    """
    return tuple(ATTACKS)


def load_attack(name: str, *, norm: str = "Linf", eps: float | str | None = None, steps: int | None = None) -> Attack:
    """Build an attack by name; controls that need another attack's result are made by the audit.

    Args:
        name: one of :func:`attack_ids`.
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
        eps: radius, a number or a fraction such as ``"8/255"``; the DeepSloth paper's for the norm if None.
        steps: iterations, for attacks that iterate; the attack's own if None.

    Raises:
        UsageError: on an unknown name, or settings that the attack does not have.

    >>> load_attack("deepsloth", eps="8/255").budget.norm
    'Linf'
    """
    if name not in ATTACKS or name == Shuffled.id:
        known = ", ".join(key for key in ATTACKS if key != Shuffled.id)
        raise UsageError(f"expected an attack among {known}, got {name!r}")
    budget = Budget.parse(norm, DEFAULT_EPS.get(norm, 1.0) if eps is None else eps)
    kind = ATTACKS[name]
    if steps is None:
        return kind(norm=budget.norm, eps=budget.eps)
    if not issubclass(kind, GradientAttack):
        raise UsageError(f"expected no number of steps for {name}, got {steps}; leave it out")
    return kind(norm=budget.norm, eps=budget.eps, steps=steps)
