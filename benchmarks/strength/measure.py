"""Attack one target within one budget by everything that applies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from benchmarks.masked import masked
from benchmarks.strength.cases import Case
from benchmarks.strength.rivals import FromUnmasked, rivals
from benchmarks.strength.row import Found, Strength
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import load_attack
from torpor.core.batches import Samples, take
from torpor.core.errors import UsageError
from torpor.core.space import VideoSpace
from torpor.targets.base import Target
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.resolve import load_target

SEED = 17


def measure(case: Case, count: int | None = None, folder: Path | None = None) -> list[Strength]:
    """Return a row for each figure of a case.

    Args:
        case: target and budget.
        count: samples; the case's own if None.
        folder: with subfolders of data; needed where the case names one.
    """
    bare = load_target(case.target)
    inputs, references = samples(case, bare, count or case.count, folder)
    target: Target = bare
    if case.mask:
        assert isinstance(bare, EarlyExitTarget)
        target = masked(bare, case.mask)
    begin = time.process_time()
    standard = load_attack(target.family.standard_on(target), norm=case.norm, eps=case.eps)
    best = _attacked(standard, target, inputs, references)
    found = {unit: [_found(standard, target, best, unit, case)] for unit in case.figures}
    others: Iterator[Attack] = rivals(case, target, best, _spent(best))
    if case.mask:
        unmasked = FromUnmasked(norm=case.norm, eps=case.eps, found=_attacked(standard, bare, inputs, references))
        others = chain([unmasked], others)
    for attack in others:
        try:
            ready = _fitted(attack, case, target, folder)
            result = _attacked(ready, target, inputs, references)
        except UsageError as error:  # such as an attack on gates where there are none
            print(f"{target.name}: {attack.name} left out: {error}", file=sys.stderr, flush=True)
            continue
        for unit, columns in found.items():
            columns.append(_found(ready, target, result, unit, case))
    spent = time.process_time() - begin
    return [
        Strength(case.shown, case.budget, len(inputs), unit, first, tuple(others), round(spent, 1))
        for unit, (first, *others) in found.items()
    ]


def samples(case: Case, target: Target, count: int, folder: Path | None) -> tuple[Samples, Samples]:
    """Return the samples of a case, and their references."""
    batch = target.data(_data(case, folder)).load("test", case.first + count)
    chosen = torch.arange(case.first, len(batch.index))
    return target.read(take(batch.inputs, chosen)), take(batch.references, chosen)


def _data(case: Case, folder: Path | None) -> Path | None:
    return folder / case.data if case.data is not None and folder is not None else None


def _fitted(attack: Attack, case: Case, target: Target, folder: Path | None) -> Attack:
    if not attack.learns:
        return attack
    frames = target.space.shape[0] if isinstance(target.space, VideoSpace) else 1
    known = target.data(_data(case, folder)).load("validation", -(-case.learned // frames))
    return attack.fit(target, target.read(known.inputs), references=known.references, seed=SEED)


def _attacked(attack: Attack, target: Target, inputs: Samples, references: Samples) -> AttackResult:
    print(f"{target.name}: {attack.name} ...", file=sys.stderr, flush=True)
    return attack(target, inputs, references=references, seed=SEED)


def _spent(result: AttackResult) -> torch.Tensor:
    return result.candidates.forwards.cpu() + result.candidates.backwards.cpu()


def _found(attack: Attack, target: Target, result: AttackResult, unit: str, case: Case) -> Found:
    passes = _spent(result).to(torch.float64).mean().item()
    return Found(attack.name, tuple(case.figures[unit](target, result).tolist()), passes, attack.is_control)
