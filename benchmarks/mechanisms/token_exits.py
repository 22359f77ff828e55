"""Early exit of tokens: how many layers a suffix takes from an early-exit language model, and for how many tokens."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack
from torpor.attacks.controls.text import BestOfK, RandomEdits
from torpor.attacks.text.late_exits import LateExits
from torpor.attacks.text.standard import StandardText
from torpor.core.work import Work
from torpor.targets.decoder.exiting.target import ExitingTarget
from torpor.zoo.language.exiting import EXITING

NAME, EPS, QUERIES = "exits-multi30k", 8, 600
BUDGET = f"suffix of {EPS} tokens"


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack the target, then search at random with as many queries. No attack on such models was published."""
    target = EXITING[NAME].load()
    texts = tuple(target.data(data_dir).load("test", limit).inputs)
    attacks: tuple[Attack, ...] = (
        StandardText(norm="suffix", eps=EPS, queries=QUERIES),
        LateExits(eps=EPS, steps=QUERIES // LateExits.candidates),
        RandomEdits(norm="suffix", eps=EPS),
        BestOfK(norm="suffix", eps=EPS, queries=torch.full((len(texts),), QUERIES)),
    )
    clean = target.run(texts).work
    table = _rows(target, "clean", "", clean, clean, 0)
    for attack in attacks:
        result = attack(target, texts)
        passes = (result.candidates.forwards + result.candidates.backwards).double().mean().item()
        table += _rows(target, attack.id, BUDGET, clean, result.attacked.work, passes)
    return table


def _rows(target: ExitingTarget, attack: str, budget: str, clean: Work, work: Work, passes: float) -> list[Row]:
    """Return tokens, layers per token but the first of each text, which the prompt makes, and the cost of all texts."""
    tokens, count = int(target.iterations(work).sum()), len(work.counts)
    figures = {
        "tokens": tokens / count,
        "layers per token": int(target.layers_of(work).sum()) / (tokens - count) if tokens > count else 0.0,
        "cost, times the clean one": (target.prices.cost(work).sum() / target.prices.cost(clean).sum()).item(),
    }
    return [Row(NAME, attack, budget, metric, ours, "", passes, count) for metric, ours in figures.items()]
