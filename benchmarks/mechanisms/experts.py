"""Expert routing: how near attacks come to the maximum imbalance, and what a batch-mate takes from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.text import BestOfK, RandomEdits
from torpor.attacks.text.experts.buffer_overflow import BufferOverflow
from torpor.attacks.text.experts.repetitioncurse import RepetitionCurse
from torpor.attacks.text.standard import StandardText
from torpor.core.errors import DataError
from torpor.core.work import Work
from torpor.defenses.registry import load_defense
from torpor.targets.base import Target
from torpor.targets.experts.batch import ExpertBatchTarget
from torpor.targets.experts.loads import imbalance
from torpor.targets.experts.target import ExpertTarget
from torpor.zoo.language.expert_batch import EXPERT_BATCHES
from torpor.zoo.language.experts import EXPERTS

ALONE, TOGETHER = "moe-multi30k", "moe-batch-multi30k"
PARTS = (ALONE, TOGETHER)
NORM, EPS, QUERIES = "prompt", 64, 300
BUDGET = f"prompt of {EPS} tokens"
DEVICES = (8, 4)
GUARDS = ("expert-capacity", "expert-capacity:125", "rebalance", "rebalance:125")
SLACK = ("expert-slack:200", "expert-slack:300")
EVERY = 2000
"""More words than the tokenizer has."""
IMBALANCE, SHARE, COST = "imbalance", "imbalance, % of the maximum", "cost, times the clean one"
REACHED = "imbalance, % of what any repeated token reaches"
SAME_LENGTH = "cost, times random tokens of the same length"
AGREE = "next token as without the guard, %"
LOST, CHANGED = "neighbors' tokens dropped, %", "neighbors' next token changed, %"
THEIRS = {
    ("repetitioncurse", SHARE): "100 (by construction: all copies choose the same experts)",
    ("repetitioncurse", SAME_LENGTH): "2.68 (digest; MoE layers of Mixtral-8x7B on 8 GPUs, against benign prompts)",
    ("moe-buffer-overflow", CHANGED): "shown (abstract; no figure)",
}


def rows(limit: int, data_dir: Path | None, part: str = ALONE) -> list[Row]:
    """Measure the model alone or in a batch; nothing without Multi30k."""
    try:
        return list(alone(limit, data_dir) if part == ALONE else together(limit, data_dir))
    except DataError:
        return []


def alone(limit: int, data_dir: Path | None) -> Iterator[Row]:
    """Yield the imbalance of devices on 8 and on 4 of them, then what guards leave of it on 8."""
    whole = EXPERTS[ALONE].load()
    data = whole.data(data_dir)
    texts, validation = data.load("test", limit).inputs, data.load("validation", 300).inputs
    for devices in DEVICES:
        target = whole.with_devices(devices)
        name = f"{ALONE}, {devices} devices"
        every = list(exhaustive(name, target, texts[0]))
        yield from measured(name, target, attacked(target, texts, (curse(), standard())), every[0].ours)
        yield from every
    for guard in GUARDS:
        settled: Any = load_defense(guard).fit(whole, validation)  # type: ignore[attr-defined]
        name = guard if ":" in guard else f"{guard}:{settled.learned} (learned)"
        guarded = settled.bounded(whole)
        yield from left(f"{ALONE}, 8 devices + {name}", whole, guarded, texts)


def together(limit: int, data_dir: Path | None) -> Iterator[Row]:
    """Yield what an input takes from its neighbors, then what larger buffers leave of it."""
    target = EXPERT_BATCHES[TOGETHER].load()
    texts = target.data(data_dir).load("test", limit).inputs
    overflow = BufferOverflow(norm=NORM, eps=EPS, queries=QUERIES)
    yield from taken(TOGETHER, target, attacked(target, texts, (overflow, curse(), standard())))
    for guard in SLACK:
        guarded: Any = load_defense(guard).defend(target)
        yield from taken(f"{TOGETHER} + {guard}", guarded, {overflow.id: overflow(guarded, texts, seed=0)})


def curse() -> Attack:
    """Return RepetitionCurse, with as many tokens as others have queries."""
    return RepetitionCurse(norm=NORM, eps=EPS, tokens=QUERIES)


def standard() -> Attack:
    """Return the standard ensemble with as many queries."""
    return StandardText(norm=NORM, eps=EPS, queries=QUERIES)


def attacked(target: Target, texts: Sequence[str], attacks: Sequence[Attack]) -> dict[str, AttackResult]:
    """Return the results of attacks, and of controls: random tokens, and the best of as many as the attacks asked."""
    found = {attack.id: attack(target, texts, seed=0) for attack in attacks}
    spent = torch.stack([result.candidates.forwards for result in found.values()]).amax(0)
    for control in (RandomEdits(norm=NORM, eps=EPS), BestOfK(norm=NORM, eps=EPS, queries=spent)):
        found[control.id] = control(target, texts, seed=0)
    return found


def exhaustive(name: str, target: ExpertTarget, text: str) -> Iterator[Row]:
    """Yield the imbalance of the best of all repeated words, then with the best word before it: no text plays a part.

    The search ends where the maximum is reached.
    """
    for leads in (0, EVERY):
        result = RepetitionCurse(norm=NORM, eps=EPS, tokens=EVERY, leads=leads)(target, (text,), seed=0)
        uneven = unevenness(target, result.attacked.work)
        attack = f"repetitioncurse:tokens={EVERY}" + (f":leads={leads}" if leads else "")
        for metric, value in ((IMBALANCE, uneven), (SHARE, 100 * uneven / target.placement.most_imbalance)):
            yield row(name, attack, metric, value, result, 1)


def unevenness(target: Any, work: Work) -> float:  # noqa: ANN401
    """Return the mean imbalance of devices, dropped assignments included."""
    ran = target.balance(work)
    return imbalance(ran["busiest"], ran["assigned"] + ran["dropped"], target.placement.devices).mean().item()


def measured(name: str, target: ExpertTarget, found: dict[str, AttackResult], reached: float) -> Iterator[Row]:
    """Yield the imbalance and the cost of each result, beside what any repeated token reaches; clean texts first."""
    price, clean = target.prices.cost, next(iter(found.values())).clean
    random = price(found["control-random-edits"].attacked.work).sum()
    for attack, work, result in (
        ("clean", clean.work, None),
        *((key, each.attacked.work, each) for key, each in found.items()),
    ):
        uneven = unevenness(target, work)
        figures = {IMBALANCE: uneven, SHARE: 100 * uneven / target.placement.most_imbalance}
        figures[REACHED] = 100 * uneven / reached
        if result is not None:
            figures[COST] = (price(work).sum() / price(clean.work).sum()).item()
            figures[SAME_LENGTH] = (price(work).sum() / random).item()
        for metric, value in figures.items():
            yield row(name, attack, metric, value, result, len(work))


def left(name: str, whole: Any, guarded: Any, texts: Sequence[str]) -> Iterator[Row]:  # noqa: ANN401
    """Yield what a guard costs clean texts, and what it leaves of the attack."""
    plain, clean = whole.run(texts), guarded.run(texts)
    price = whole.prices.cost
    agree = 100 * guarded.agreement(clean.outputs, plain.outputs).double().mean().item()
    result = curse()(guarded, tuple(texts), seed=0)
    for attack, work, known in (("clean", clean.work, None), ("repetitioncurse", result.attacked.work, result)):
        uneven = unevenness(guarded, work)
        for metric, value in ((IMBALANCE, uneven), (COST, (price(work).sum() / price(plain.work).sum()).item())):
            yield row(name, attack, metric, value, known, len(texts))
    yield row(name, "clean", AGREE, agree, None, len(texts))


def taken(name: str, target: ExpertBatchTarget, found: dict[str, AttackResult]) -> Iterator[Row]:
    """Yield what neighbors lose under each result; in the company of the clean texts first."""
    clean = next(iter(found.values())).clean
    for attack, work, result in (
        ("clean", clean.work, None),
        *((key, each.attacked.work, each) for key, each in found.items()),
    ):
        hit = target.hit(work)
        lost = 100 * hit["neighbor_drops"].double().mean().item() / target.neighbors_assigned
        changed = 100 * hit["neighbor_changes"].double().mean().item() / len(target.neighbors)
        for metric, value in ((LOST, lost), (CHANGED, changed)):
            yield row(name, attack, metric, value, result, len(work))


def row(name: str, attack: str, metric: str, value: float, result: AttackResult | None, count: int) -> Row:
    """Return a row of the table."""
    passes = 0.0 if result is None else result.candidates.forwards.double().mean().item()
    budget = "" if result is None else BUDGET
    return Row(name, attack, budget, metric, value, THEIRS.get((attack, metric), ""), passes, count)
