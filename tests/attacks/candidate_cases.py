"""Attacks on toy detectors and trackers, fitted and with few iterations, and a look at what they ask of the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from candidate_targets import inputs_of
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls import BestNoise, Shuffled
from torpor.attacks.registry import ATTACKS
from torpor.attacks.spaces import ball_of
from torpor.core.outcome import Outcome
from torpor.core.signals import CandidateSignals
from torpor.targets.candidates import CandidateTarget

EPS = {"Linf": 0.1, "L2": 1.2, "L1": 8.0}
FEW: dict[str, dict[str, Any]] = {
    "overload": {"steps": 10},
    "slowtrack": {"steps": 10},
    "slowtrack-unbounded": {"steps": 60},
    "daedalus": {"steps": 10},
    "phantom-sponges": {"epochs": 15},
    "snal": {"queries": 12},
}


def build(name: str, norm: str, target: CandidateTarget, seed: int = 0) -> Attack:
    """Build attack ``name`` and fit it on inputs that no test attacks; matched controls are for four inputs."""
    eps, others = EPS[norm], inputs_of(target, other=True)
    if name == Shuffled.id:
        generators = [torch.Generator().manual_seed(row) for row in range(4)]
        return Shuffled(norm=norm, eps=eps, perturbation=ball_of(norm, target.space).random(generators, eps, others))
    if name == BestNoise.id:
        return BestNoise(norm=norm, eps=eps, queries=torch.arange(4))
    return ATTACKS[name](norm=norm, eps=eps, **FEW.get(name, {})).fit(target, others, seed=seed)


def attack_rows(attack: Attack, target: CandidateTarget, inputs: Tensor, rows: slice, seed: int = 3) -> AttackResult:
    """Attack some rows; a control that is matched to each row is that of the rows."""
    if isinstance(attack, Shuffled):
        attack = replace(attack, perturbation=attack.perturbation[rows])
    if isinstance(attack, BestNoise):
        attack = replace(attack, queries=attack.queries[rows])
    return attack(target, inputs[rows], seed=seed)


@dataclass
class Frames:
    """How many pictures or frames a detector was shown, and how many of them went through a backward pass."""

    forwards: int = 0
    backwards: int = 0


def watch(target: CandidateTarget, monkeypatch: pytest.MonkeyPatch) -> Frames:
    """Note all passes of this target's detector from now on."""
    seen = Frames()
    run, signals = target.detector.run, target.detector.signals

    def noting_run(inputs: Tensor) -> Outcome:
        seen.forwards += len(inputs)
        return run(inputs)

    def noting_signals(inputs: Tensor) -> CandidateSignals:
        seen.forwards += len(inputs)
        found = signals(inputs)
        if found.scores.requires_grad:

            def note(gradient: Tensor) -> None:
                seen.backwards += len(gradient)

            found.scores.register_hook(note)
        return found

    monkeypatch.setattr(target.detector, "run", noting_run)
    monkeypatch.setattr(target.detector, "signals", noting_signals)
    return seen
