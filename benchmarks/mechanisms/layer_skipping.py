"""Layer skipping: the share of the FLOPs saved by skipping that an attack takes back, as GradAuto defines it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.gates.base import GateAttack
from torpor.attacks.registry import load_attack, matched_controls
from torpor.targets.base import Target
from torpor.zoo.registry import ZOO

PARTS = ("skipnet-digits-8", "skipnet-digits-16", "skipnet-cifar10-4", "skipnet-cifar10-8", "skipnet-cifar10-16")
"""Networks, each with a budget in Linf, in levels of 255."""
ON_GATES = ("ilfo", "gradauto", "gradmdm")
ATTACKS = ("standard", *ON_GATES, "gradmdm:layerwise=true", "deepperform", "ereba", "control-noise", "control-flat")
METRIC = "recovery, %"
PUBLISHED = {
    "ilfo": "up to 100 (abstract; no ball)",
    "gradauto": "100 (abstract; no ball)",
    "gradmdm": "above GradAuto's (abstract; no ball)",
    "ereba": "up to +1,000 % energy (abstract), another metric",
}


def recovery(target: Target, result: AttackResult) -> float:
    """Return ``(F_attacked - F) / (F_max - F)`` of the sums over all samples, in percent; 0 if nothing was saved."""
    clean, attacked, most = (
        target.prices.cost(work).sum().item() for work in (result.clean.work, result.attacked.work, result.static)
    )
    return 100 * (attacked - clean) / (most - clean) if most > clean else 0.0


def rows(limit: int, data_dir: Path | None, part: str) -> list[Row]:
    """Attack ``limit`` test images of a network at one budget, CIFAR-10's if ``data_dir`` has them."""
    name, levels = part.rsplit("-", 1)
    if not ZOO[name].ships or ("cifar10" in name and data_dir is None):
        return []
    target, eps = ZOO[name].load(), f"{levels}/255"
    data = target.data(data_dir)
    batch = data.load("test", limit)
    inputs = target.read(batch.inputs)
    attacks = {name: load_attack(name, eps=eps).fitted(target, data, 0) for name in ATTACKS}
    results = {name: attack(target, inputs, references=batch.references) for name, attack in attacks.items()}
    for control in matched_controls(attacks["standard"].budget, target, *_tried(attacks, results)):
        results[control.id] = control(target, inputs, references=batch.references)
    best = max(ON_GATES, key=lambda name: recovery(target, results[name]))
    longer = replace(cast(GateAttack, attacks[best]), steps=_steps(attacks[best], results[best], results["standard"]))
    results[f"{best}, as many passes"] = longer(target, inputs, references=batch.references)
    return [_row(target, name, result, eps) for name, result in results.items()]


def _tried(
    attacks: dict[str, Attack], results: dict[str, AttackResult]
) -> tuple[Sequence[Attack], Sequence[AttackResult]]:
    """Return attacks and results that are no controls."""
    names = [name for name in attacks if not name.startswith("control")]
    return [attacks[name] for name in names], [results[name] for name in names]


def _steps(attack: Any, result: AttackResult, other: AttackResult) -> int:  # noqa: ANN401 - an attack with iterations
    """Return the iterations in which an attack spends the passes that the other spent where it spent most."""
    each = 3 if result.candidates.backwards.max() > attack.iterations else 2  # with a second backward pass
    return int((other.candidates.forwards + other.candidates.backwards).max()) // each


def _row(target: Target, attack: str, result: AttackResult, eps: str) -> Row:
    spent = result.candidates.forwards + result.candidates.backwards
    return Row(
        target=target.name,
        attack=attack,
        budget=f"Linf {eps}",
        metric=METRIC,
        ours=recovery(target, result),
        theirs=PUBLISHED.get(attack.split(":")[0].split(",")[0], ""),
        passes=spent.double().mean().item(),
        count=len(result.clean_inputs),
    )
