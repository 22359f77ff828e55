"""Halting depth and cascades: the share of the FLOPs saved that an attack takes back, as ILFO counts it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.mechanisms.row import Row
from torpor.attacks.registry import attack_ids, load_attack, matched_controls
from torpor.targets.base import Target
from torpor.zoo.registry import ZOO

ATTACKS = {"act-digits": ("standard", "ilfo", "ilfo:form=halting"), "cascade-digits": ("standard", "deepsloth")}
PUBLISHED = {
    ("act-digits", "ilfo"): "up to 100 (abstract; no ball)",
    ("act-digits", "ilfo:form=halting"): "up to 100 (abstract; no ball)",
}


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack ``limit`` test digits in two balls."""
    return [
        row
        for name, attacks in ATTACKS.items()
        for eps in ("8/255", "16/255")
        for row in _of_budget(
            ZOO[name].load(), [each for each in attacks if each.split(":")[0] in attack_ids()], eps, limit
        )
    ]


def _of_budget(target: Target, names: list[str], eps: str, limit: int) -> list[Row]:
    batch = target.data(None).load("test", limit)
    inputs = target.read(batch.inputs)
    attacks = [load_attack(name, eps=eps) for name in names]
    results = [attack(target, inputs, references=batch.references) for attack in attacks]
    for control in (
        load_attack("control-noise", eps=eps),
        *matched_controls(attacks[0].budget, target, attacks, results),
    ):
        names = [*names, control.id]
        results.append(control(target, inputs, references=batch.references))
    found = []
    for name, result in zip(names, results, strict=True):
        clean, attacked, most = (
            target.prices.cost(work).sum().item() for work in (result.clean.work, result.attacked.work, result.static)
        )
        spent = (result.candidates.forwards + result.candidates.backwards).double().mean().item()
        share, theirs = 100 * (attacked - clean) / (most - clean), PUBLISHED.get((target.name, name), "")
        found.append(Row(target.name, name, f"Linf {eps}", "recovery, %", share, theirs, spent, limit))
    return found
