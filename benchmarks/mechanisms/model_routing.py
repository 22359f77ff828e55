"""Model routing: how many texts two appended tokens send to the expensive model, with and without queries."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.text import BestOfK, RandomEdits
from torpor.attacks.text.routing.black import ReroutingBlack
from torpor.attacks.text.routing.r2a import R2A
from torpor.attacks.text.routing.rerouting import Rerouting
from torpor.attacks.text.standard import StandardText
from torpor.core.errors import DataError
from torpor.core.work import Work
from torpor.targets.text.routed import RoutedTarget
from torpor.zoo.text.routers import ROUTERS

NAME, EPS, QUERIES = "router-multi30k", 2, 300
BUDGET = f"suffix of {EPS} tokens"
SHARE, COST = "texts at the expensive model, %", "cost, times the clean one"
THEIRS = {"r2a": "shown on commercial routers (abstract; no figure)"}


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack the router, then search at random with as many queries; nothing without Multi30k."""
    target = ROUTERS[NAME].load()
    try:
        data = target.data(data_dir)
        texts = tuple(data.load("test", limit).inputs)
    except DataError:
        return []
    attacks: tuple[Attack, ...] = (Rerouting(eps=EPS), ReroutingBlack(eps=EPS), R2A(eps=EPS))
    attacks = (*attacks, StandardText(norm="suffix", eps=EPS, queries=QUERIES))
    found = [(attack := each.fitted(target, data, 0), attack(target, texts, seed=0)) for each in attacks]
    few = torch.full((len(texts),), 10)
    controls = (
        RandomEdits(norm="suffix", eps=EPS),
        BestOfK(norm="suffix", eps=EPS, queries=few),
        BestOfK(norm="suffix", eps=EPS, queries=few * 0 + QUERIES),
    )
    found += [(control, control(target, texts, seed=0)) for control in controls]
    clean = found[0][1].clean.work
    price = target.prices.cost
    table = [Row(NAME, "clean", "", SHARE, share(target, clean), "", 0, len(texts))]
    for attack, result in found:
        name = f"{attack.id} ({int(result.candidates.forwards[0])})" if isinstance(attack, BestOfK) else attack.id
        more = (price(result.attacked.work).sum() / price(clean).sum()).item()
        for metric, value in ((SHARE, share(target, result.attacked.work)), (COST, more)):
            theirs = THEIRS.get(attack.id, "") if metric == SHARE else ""
            table.append(Row(NAME, name, BUDGET, metric, value, theirs, passes(attack, result), len(texts)))
    return table


def share(target: RoutedTarget, work: Work) -> float:
    """Return the share of texts at the expensive model, in per cent."""
    return 100 * float(target.expensive(work).double().mean())


def passes(attack: Attack, result: AttackResult) -> float:
    """Return the passes per text, and what was spent before, shared by all texts."""
    own = (result.candidates.forwards + result.candidates.backwards).double().mean().item()
    return own + attack.forwards_before / len(result.inputs)
