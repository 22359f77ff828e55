"""Attacks on toy decoders, fitted and with few iterations, and a look at what they ask of the target."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from attack_cases import noise
from step_targets import inputs_of

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls import BestNoise, Shuffled
from torpor.attacks.registry import ATTACKS
from torpor.attacks.text_controls import BestOfK
from torpor.core.batches import Samples
from torpor.core.signals import StepSignals
from torpor.targets.steps import StepTarget

EPS = {"Linf": 0.1, "L2": 0.4, "L1": 1.6, "chars": 2, "tokens": 2, "words": 2, "suffix": 6, "prompt": 6}
FEW: dict[str, dict[str, Any]] = {
    "nicg-slowdown": {"steps": 10},
    "verbose-images": {"steps": 10},
    "slothspeech": {"steps": 10},
    "engorgio": {"steps": 40, "tail": 20},
    "loopllm": {"steps": 3, "candidates": 20},
    "sponge-genetic": {"pool": 10, "epochs": 4, "alphabet": 94},
}


def build(name: str, norm: str, target: StepTarget, seed: int = 0) -> Attack:
    """Build attack ``name`` and fit it on inputs that no test attacks; matched controls are for eight inputs."""
    eps, others = EPS[norm], inputs_of(target, other=True)
    if name == Shuffled.id:
        return Shuffled(norm=norm, eps=eps, perturbation=noise(norm, eps, others))
    for kind in (BestNoise, BestOfK):
        if name == kind.id:
            return kind(norm=norm, eps=eps, queries=torch.arange(8))
    return ATTACKS[name](norm=norm, eps=eps, **FEW.get(name, {})).fit(target, others, seed=seed)


def attack_rows(attack: Attack, target: StepTarget, inputs: Samples, rows: slice, seed: int = 3) -> AttackResult:
    """Attack some rows; a control that is matched to each row is that of the rows."""
    if isinstance(attack, Shuffled):
        attack = replace(attack, perturbation=attack.perturbation[rows])
    if isinstance(attack, BestNoise | BestOfK):
        attack = replace(attack, queries=attack.queries[rows])
    return attack(target, inputs[rows], seed=seed)


@dataclass
class Passes:
    """How many rows every call of a target had, and how many went through a backward pass."""

    forwards: list[int] = field(default_factory=list)
    backwards: list[int] = field(default_factory=list)


def watch(target: StepTarget, monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Note all passes of this target from now on."""
    passes = Passes()
    run, signals = target.run, target.signals

    def noting_run(inputs: Samples) -> object:
        passes.forwards.append(len(inputs))
        return run(inputs)

    def noting_signals(inputs: Samples) -> StepSignals:
        passes.forwards.append(len(inputs))
        found = signals(inputs)
        if found.logits.requires_grad:
            found.logits.register_hook(lambda gradient: passes.backwards.append(len(gradient)))
        return found

    monkeypatch.setattr(target, "run", noting_run)
    monkeypatch.setattr(target, "signals", noting_signals)
    return passes
