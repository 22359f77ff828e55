"""Where a method was published, and threat models: when the attacker acts, what they see, how far they may go."""

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


@dataclass(frozen=True)
class Paper:
    """A publication.

    Attributes:
        title: as published.
        authors: first author and "et al.".
        venue: where it appeared.
        year: when.
        identifier: arXiv number, DOI or URL; empty where none was verified.

    >>> print(Paper("A Panda?", "Hong et al.", "ICLR", 2021, "arXiv:2010.02432"))
    Hong et al., "A Panda?", ICLR 2021 (arXiv:2010.02432)
    """

    title: str
    authors: str
    venue: str
    year: int
    identifier: str

    def __str__(self) -> str:
        where = f" ({self.identifier})" if self.identifier else ""
        return f'{self.authors}, "{self.title}", {self.venue} {self.year}{where}'
