"""Layer skipping: the share of the FLOPs saved by skipping that an attack takes back, as GradAuto defines it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import load_attack, matched_controls
from torpor.targets.base import Target
from torpor.zoo.registry import ZOO

BUDGETS = {"skipnet-digits": ("8/255", "16/255"), "skipnet-cifar10": ("4/255", "8/255")}
ATTACKS = ("standard", "ilfo", "gradauto", "gradmdm", "deepperform", "ereba", "control-noise", "control-flat")
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


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack ``limit`` test images of each network that is there, CIFAR-10's if ``data_dir`` has them."""
    found: list[Row] = []
    for name, budgets in BUDGETS.items():
        if not ZOO[name].ships or ("cifar10" in name and data_dir is None):
            continue
        target = ZOO[name].load()
        for eps in budgets:
            found += _of_budget(target, eps, limit, data_dir)
    return found


def _of_budget(target: Target, eps: str, limit: int, data_dir: Path | None) -> list[Row]:
    data = target.data(data_dir)
    batch = data.load("test", limit)
    inputs = target.read(batch.inputs)
    attacks = [load_attack(name, eps=eps).fitted(target, data, 0) for name in ATTACKS]
    results = [attack(target, inputs, references=batch.references) for attack in attacks]
    for control in matched_controls(attacks[0].budget, target, attacks[:-2], results[:-2]):
        attacks.append(control)
        results.append(control(target, inputs, references=batch.references))
    return [_row(target, *pair, eps) for pair in zip(attacks, results, strict=True)]


def _row(target: Target, attack: Attack, result: AttackResult, eps: str) -> Row:
    spent = result.candidates.forwards + result.candidates.backwards
    return Row(
        target=target.name,
        attack=attack.id,
        budget=f"Linf {eps}",
        metric=METRIC,
        ours=recovery(target, result),
        theirs=PUBLISHED.get(attack.id, ""),
        passes=spent.double().mean().item(),
        count=len(result.clean_inputs),
    )
