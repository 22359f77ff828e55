"""NEO-KD: a network that was hardened by distillation between its exits takes the target's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torpor.core.threat import Paper
from torpor.defenses.hardening.hardened import Hardened
from torpor.targets.resolve import NEO_KD_SUFFIX

PAPER = Paper(
    "NEO-KD: Knowledge-Distillation-Based Adversarial Training for Robust Multi-Exit Neural Networks",
    "Ham et al.",
    "NeurIPS",
    2023,
    "arXiv:2311.00428",
)


@dataclass(frozen=True)
class NeoKD(Hardened):
    """Replace a multi-exit target by one whose exits also learned to answer attacked images like clean ones.

    Each learned the mean prediction of itself and its neighbors, and its own of the true class and some wrong ones.
    It is the target called as this one and ``-neo-kd``; rules are chosen as :class:`Hardened` does. The paper defends
    accuracy; here the attack in training is one on cost, as for ``hardened``.

    >>> NeoKD().name
    'neo-kd'
    """

    id: ClassVar[str] = "neo-kd"
    paper: ClassVar[Paper | None] = PAPER
    suffix: ClassVar[str] = NEO_KD_SUFFIX
