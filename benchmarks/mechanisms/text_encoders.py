"""Encoders of texts that exit early or skim: layers or tokens taken back, by each paper's attack, at equal queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.text import BestOfK, RandomEdits
from torpor.attacks.registry import attack_for, load_attack
from torpor.core.budget import budget_text
from torpor.core.errors import DataError
from torpor.metrics.efficacy import efficacy_eec
from torpor.targets.text.exits import TextExitTarget
from torpor.zoo.text.registry import TEXT_CLASSIFIERS

EXITS, SKIMS = "eetext-multi30k", "skim-multi30k"
RULES = ("drop:0.01", "patience:2", "learned:0.95")
PLANS: dict[str, tuple[tuple[str, int, tuple[str, ...]], ...]] = {
    EXITS: (
        ("words", 1, ("same", "standard", "waffle", "waffle-universal")),
        ("words", 3, ("same", "standard", "waffle", "waffle:recipe=a2t", "waffle-universal")),
        ("chars", 3, ("same", "standard", "slowbert", "slowbert-black")),
    ),
    SKIMS: (("words", 1, ("no-skim", "standard")), ("chars", 3, ("no-skim", "standard"))),
}
THEIRS = {
    ("same", EXITS): "80 on average (abstract; BERT, RoBERTa and ALBERT of 12 layers on GLUE)",
    ("slowbert", EXITS): "up to 4.57 times the cost (abstract)",
    ("no-skim", SKIMS): "up to 145 % more cost (abstract; BERT and RoBERTa on GLUE)",
}


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Measure both encoders, and SAME on other exit rules."""
    try:
        return [*of(EXITS, limit, data_dir), *rules(limit, data_dir), *of(SKIMS, limit, data_dir)]
    except DataError:
        return []


def of(name: str, limit: int, data_dir: Path | None) -> Iterator[Row]:
    """Yield the rows of an encoder as it is deployed."""
    target, data = load(name), TEXT_CLASSIFIERS[name].data(data_dir)
    texts = data.load("test", limit).inputs
    for norm, eps, attacks in PLANS[name]:
        found = []
        for attack in attacks:
            fitted = load_attack(attack_for(attack, target), norm=norm, eps=eps).fitted(target, data, 0)
            result = fitted(target, texts, seed=0)
            found.append(result)
            yield from measured(name, fitted, target, result)
        spent = torch.stack([each.candidates.forwards for each in found]).amax(0)
        for control in (RandomEdits(norm=norm, eps=eps), BestOfK(norm=norm, eps=eps, queries=spent)):
            yield from measured(name, control, target, control(target, texts, seed=0))


def rules(limit: int, data_dir: Path | None) -> Iterator[Row]:
    """Yield what three edited words do to other exit rules."""
    data = TEXT_CLASSIFIERS[EXITS].data(data_dir)
    texts = data.load("test", limit).inputs
    for rule in RULES:
        target = load(EXITS).with_rule(rule)
        known = load_attack("same", norm="words", eps=3)
        yield from measured(f"{EXITS}, {rule}", known, target, known(target, texts, seed=0))


def load(name: str) -> Any:  # noqa: ANN401 - either kind of encoder
    """Load an encoder."""
    return TEXT_CLASSIFIERS[name].load()


def measured(name: str, attack: Attack, target: Any, result: AttackResult) -> Iterator[Row]:  # noqa: ANN401
    """Yield what the papers report of a result."""
    passes = (result.candidates.forwards + result.candidates.backwards).double().mean().item()
    said = budget_text({"norm": attack.norm, "eps": attack.eps})
    cost = target.prices.cost
    more = 100 * (cost(result.attacked.work).sum() / cost(result.clean.work).sum() - 1).item()
    figures: list[tuple[str, float]] = [("cost, % more", more)]
    if target.offers("exits"):
        layers = [target.exits(outcome.work).double() + 1 for outcome in (result.clean, result.attacked)]
        all_ = len(target.exit_costs)
        clean, attacked = (each.mean().item() for each in layers)
        figures.append(("layers saved that are lost, %", 100 * (attacked - clean) / (all_ - clean)))
        figures += [("speed-up left, times", all_ / attacked), ("efficacy", efficacy(target, result))]
    else:
        ran = [[each.double().sum().item() for each in target.tokens_run(work)] for work in works(result)]
        figures.append(("tokens kept, %", 100 * ran[1][0] / ran[1][1]))
        skipped = 1 - ran[0][0] / ran[0][1]
        figures.append(("tokens skimmed that are lost, %", 100 * (1 - (1 - ran[1][0] / ran[1][1]) / skipped)))
    for metric, ours in figures:
        theirs = THEIRS.get((attack.id, name), "") if published(attack.id, metric) else ""
        yield Row(name, attack.name, said, metric, ours, theirs, passes, len(result.inputs))


def works(result: AttackResult) -> tuple[Any, Any]:
    """Return the work on clean and on attacked texts."""
    return result.clean.work, result.attacked.work


def published(attack: str, metric: str) -> bool:
    """Tell whether the paper of an attack reports a metric."""
    return metric == {"same": "layers saved that are lost, %"}.get(attack, "cost, % more")


def efficacy(target: TextExitTarget, result: AttackResult) -> float:
    """Return WAFFLE's and DeepSloth's: the area under the curve of texts that have left, against cost."""
    taken: np.ndarray[Any, Any] = target.exits(result.attacked.work).numpy()
    costs: np.ndarray[Any, Any] = target.exit_costs.numpy()
    return float(efficacy_eec(taken, costs))
