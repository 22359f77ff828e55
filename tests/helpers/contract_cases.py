"""Attacks on toys that iterate or find objects, fitted, with few iterations, and what they ask of the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import candidate_targets
import pytest
import step_targets
import torch
from candidate_targets import CANDIDATE_TARGETS
from step_targets import BLACK_BOXES, STEP_TARGETS

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.dense import BestNoise, Shuffled
from torpor.attacks.controls.text import BestOfK
from torpor.attacks.registry import ATTACKS
from torpor.attacks.search.balls import ball_of
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.signals import CandidateSignals, StepSignals
from torpor.core.work import Outcome
from torpor.targets.decoder.contract import StepTarget, TextTarget
from torpor.targets.detector.contract import CandidateTarget

Kind = StepTarget | CandidateTarget

STEPS: dict[str, Callable[[], StepTarget]] = {**STEP_TARGETS, **BLACK_BOXES}
BOTH: dict[str, Callable[[], Kind]] = {**STEPS, **CANDIDATE_TARGETS}
PATCHES = {"patch": 0.3, "patch-center": 0.3}
EPS = {"Linf": 0.1, "L2": 0.4, "L1": 1.6, **PATCHES, "chars": 2, "tokens": 2, "words": 2, "suffix": 6, "prompt": 6}
WORDED = {"autodos": 300, "extendattack": 200, "overthink": 200}
"""Budgets of attacks that write sentences."""
CANDIDATE_EPS = {"Linf": 0.1, "L2": 1.2, "L1": 8.0, **PATCHES}
FEW: dict[str, dict[str, Any]] = {
    "nicg-slowdown": {"steps": 10},
    "verbose-images": {"steps": 10},
    "lingoloop": {"steps": 10},
    "vlminferslow": {"steps": 6, "pairs": 3},
    "slothspeech": {"steps": 10},
    "engorgio": {"steps": 40, "tail": 20},
    "loopllm": {"steps": 3, "candidates": 20},
    "coercing-llms": {"steps": 3, "candidates": 20},
    "excessive-reasoning": {"steps": 3, "candidates": 20},
    "square": {"queries": 150},
    "evolution": {"queries": 60},
    "standard-queries": {"queries": 60},
    "eogen": {"population": 8, "generations": 5},
    "autodos": {"rounds": 3},
    "overthink": {"epochs": 3},
    "transfer": {"source": "torpor.targets.decoder.toy_text%3AToyText", "by": "evolution%3Aqueries=40", "keep": 2},
    "sponge-genetic": {"pool": 10, "epochs": 4, "alphabet": 94},
    "standard-detector": {"passes": 60},
    "overload": {"steps": 10},
    "slowtrack": {"steps": 10},
    "slowtrack-unbounded": {"steps": 60},
    "daedalus": {"steps": 10},
    "phantom-sponges": {"epochs": 15},
    "snal": {"queries": 12},
}


def inputs_of(target: Kind, *, other: bool = False) -> Samples:
    """Return eight inputs of a decoder or four of a detector, or others to fit on."""
    if isinstance(target, StepTarget):
        return step_targets.inputs_of(target, other=other)
    return candidate_targets.inputs_of(target, other=other)


def build(name: str, norm: str, target: Kind, seed: int = 0) -> Attack:
    """Build attack ``name`` and fit it on inputs that no test attacks; matched controls are for all inputs."""
    eps = WORDED.get(name, (EPS if isinstance(target, StepTarget) else CANDIDATE_EPS)[norm])
    others, count = inputs_of(target, other=True), len(inputs_of(target))
    if name == Shuffled.id:
        assert isinstance(others, torch.Tensor)
        generators = [torch.Generator().manual_seed(row) for row in range(count)]
        ball = ball_of(Budget(norm, eps), target.space)
        return Shuffled(norm=norm, eps=eps, perturbation=ball.random(generators, eps, others))
    for kind in (BestNoise, BestOfK):
        if name == kind.id:
            return kind(norm=norm, eps=eps, queries=torch.arange(count))
    return ATTACKS.find(name)(norm=norm, eps=eps, **FEW.get(name, {})).fit(target, others, seed=seed)


def attack_rows(attack: Attack, target: Kind, inputs: Samples, rows: slice, seed: int = 3) -> AttackResult:
    """Attack some rows; a control that is matched to each row is that of the rows."""
    if isinstance(attack, Shuffled):
        attack = replace(attack, perturbation=attack.perturbation[rows])
    if isinstance(attack, BestNoise | BestOfK):
        attack = replace(attack, queries=attack.queries[rows])
    return attack(target, inputs[rows], seed=seed)


@dataclass
class Passes:
    """How many rows every call of a target had, and how many went through a backward pass; of videos, frames."""

    forwards: list[int] = field(default_factory=list)
    backwards: list[int] = field(default_factory=list)


def watch(target: Kind, monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Note all passes of this target from now on, or of its detector."""
    passes = Passes()
    part: Any = target if isinstance(target, StepTarget) else target.detector
    run, signals = part.run, part.signals

    def noting_run(inputs: Samples) -> Outcome:
        passes.forwards.append(len(inputs))
        return run(inputs)  # type: ignore[no-any-return]

    def noting_signals(inputs: Samples) -> StepSignals | CandidateSignals:
        passes.forwards.append(len(inputs))
        found: StepSignals | CandidateSignals = signals(inputs)
        scores = found.logits if isinstance(found, StepSignals) else found.scores
        if scores.requires_grad:
            scores.register_hook(lambda gradient: passes.backwards.append(len(gradient)))
        return found

    if isinstance(part, TextTarget):
        soft_logits = part.soft_logits

        def noting_soft_logits(embeddings: torch.Tensor) -> torch.Tensor:
            passes.forwards.append(len(embeddings))
            scores = soft_logits(embeddings)
            if scores.requires_grad:
                scores.register_hook(lambda gradient: passes.backwards.append(len(gradient)))
            return scores

        monkeypatch.setattr(part, "soft_logits", noting_soft_logits)
    monkeypatch.setattr(part, "run", noting_run)
    monkeypatch.setattr(part, "signals", noting_signals)
    return passes
