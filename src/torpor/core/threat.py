"""Threat models: when the attacker acts, what they see, how far they may go, and what they know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torpor.core.budget import Budget


class Stage(StrEnum):
    """When the attacker acts."""

    EVASION = "evasion"
    UNIVERSAL = "universal"
    POISONING = "poisoning"
    BACKDOOR = "backdoor"
    WEIGHTS = "weights"
    SYSTEM = "system"


class Access(StrEnum):
    """What the attacker sees of the target."""

    WHITE = "white"
    SCORE = "score"
    DECISION = "decision"
    TRANSFER = "transfer"
    NONE = "none"


@dataclass(frozen=True)
class ThreatModel:
    """The attacker of one audit row.

    Attributes:
        stage: when they act.
        access: what they see.
        budget: how far an input may be changed.
        knows_defense: whether the attack was made against the defended target.

    >>> ThreatModel(Stage.EVASION, Access.WHITE, Budget("Linf", 8 / 255)).describe()
    'evasion, white-box, Linf eps=0.03137'
    """

    stage: Stage
    access: Access
    budget: Budget
    knows_defense: bool = True

    def describe(self) -> str:
        """Return the threat model in a few words."""
        access = {"white": "white-box", "none": "no access"}.get(self.access, f"{self.access} access")
        return f"{self.stage}, {access}, {self.budget}"
