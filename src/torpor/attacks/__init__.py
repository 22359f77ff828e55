"""Attacks: how inputs are made expensive."""

from torpor.attacks.base import Attack, AttackResult, Candidates
from torpor.attacks.deepsloth import DeepSloth
from torpor.attacks.pgd import PGD, PGDAvg, PGDMax
from torpor.attacks.registry import ATTACKS, attack_ids, load_attack
from torpor.attacks.square import Square
from torpor.attacks.standard import Standard
from torpor.attacks.uap import UAP
from torpor.attacks.universal import DeepSlothClassUniversal, DeepSlothUniversal

__all__ = [
    "ATTACKS",
    "PGD",
    "UAP",
    "Attack",
    "AttackResult",
    "Candidates",
    "DeepSloth",
    "DeepSlothClassUniversal",
    "DeepSlothUniversal",
    "PGDAvg",
    "PGDMax",
    "Square",
    "Standard",
    "attack_ids",
    "load_attack",
]
