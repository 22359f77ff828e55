"""Vision transformers that skip tokens: SlowFormer's and DeSparsify's metrics, with controls beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.dense import Flat, Noise
from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.attacks.registry import load_attack
from torpor.attacks.tokens.several import JOIN
from torpor.core.budget import PATCHES, budget_text
from torpor.core.errors import DataError
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.targets.tokens.target import TokenTarget
from torpor.targets.tokens.under import tokens_run
from torpor.zoo.registry import ZOO

TARGETS = ("avit-digits", "adavit-digits", "ats-digits", "avit-cifar10", "adavit-cifar10", "ats-cifar10")
BATCH = 32
CLEAN = 1000
"""Clean images at most whose mean cost is SlowFormer's least one."""
ENSEMBLE, STRONGEST = "ensemble", "standard"
UNIVERSAL = "desparsify-universal"
PLANS = {
    "linf": (
        (
            "Linf",
            16 / 255,
            ("desparsify", "apgd-expected", STRONGEST, UNIVERSAL, "desparsify-class-universal", ENSEMBLE),
        ),
    ),
    "patch": (
        ("patch", 0.08, ("slowformer", UNIVERSAL, "apgd-expected", STRONGEST)),
        ("patch", 0.02, ("slowformer", "apgd-expected", STRONGEST)),
    ),
}
"""Budgets and attacks; ``standard`` has a patch for each image, which tells what patches can do at all."""
PARTS = tuple(f"{name}-{plan}" for name in TARGETS for plan in PLANS)
RECOVERY, SUCCESS = "recovery, %", "attack success, %"
DESPARSIFY = {"ats": (74, 14, 40), "adavit": (44, 19, 32), "avit": (100, 25, 100)}
"""Published recovery on DeiT-S by mechanism: each image at Linf 16/255, universal, universal patch of 8 %."""
SLOWFORMER = {0.08: "100 (abstract)", 0.02: "80 (abstract)"}
"""Published attack success on A-ViT by the share of the area."""


@dataclass(frozen=True)
class Measured:
    """One attack on all images.

    Attributes:
        attack: what was run.
        results: batch by batch.
    """

    attack: Attack
    results: Sequence[AttackResult]


def rows(limit: int, data_dir: Path | None, part: str) -> list[Row]:
    """Measure a network under some budgets, if it has weights and data here."""
    name, plan = part.rsplit("-", 1)
    return list(_of(name, plan, limit, data_dir))


def ensemble(name: str) -> str:
    """Return the specification of DeSparsify's ensemble for a network: the other mechanisms on the same images.

    >>> ensemble("avit-digits")
    'desparsify-universal:others=adavit-digits+ats-digits'
    """
    images = name.split("-")[1]
    return f"{UNIVERSAL}:others={JOIN.join(each for each in TARGETS if each.endswith(images) and each != name)}"


def _of(name: str, plan: str, limit: int, data_dir: Path | None) -> Iterator[Row]:
    try:
        target: Any = ZOO[name].load()
        data = target.data(data_dir)
        batch = data.load("test", limit)
    except DataError:
        return
    inputs = target.read(batch.inputs)
    yield Row(name, "clean", "no budget", "TUR, %", usage(target, [target.run(inputs).work]), "", 0, len(inputs))
    least = clean_cost(target, data)
    for norm, eps, attacks in PLANS[plan]:
        fitted = [_fitted(ensemble(name) if each == ENSEMBLE else each, norm, eps, target, data) for each in attacks]
        found = []
        for attack in (*fitted, Noise(norm=norm, eps=eps), Flat(norm=norm, eps=eps)):
            parts = zip(inputs.split(BATCH), batch.references.split(BATCH), strict=True)
            results = [attack(target, some, references=known) for some, known in parts]
            found.append(Measured(attack, results))
        best = next(recovery(target, each.results) for each in found if each.attack.id == STRONGEST)
        for each in found:
            yield from _rows(name, target, each, least, best)


def _fitted(spec: str, norm: str, eps: float, target: Target, data: DataSet) -> Attack:
    if spec == AutoExpected.id:
        return AutoExpected(norm=norm, eps=eps)
    return load_attack(spec, norm=norm, eps=eps).fitted(target, data, 0)


def _rows(name: str, target: Any, measured: Measured, least: float, best: float) -> Iterator[Row]:  # noqa: ANN401
    attack, results = measured.attack, measured.results
    spent = sum(float((each.candidates.forwards + each.candidates.backwards).sum()) for each in results)
    count = sum(len(each.clean.work) for each in results)
    agreed = torch.cat([target.agreement(each.attacked.outputs, each.clean.outputs) for each in results])
    works, taken = [each.attacked.work for each in results], recovery(target, results)
    figures = {
        RECOVERY: taken,
        "TUR, %": usage(target, works),
        "class kept, %": 100 * agreed.float().mean().item(),
    }
    if attack.norm in PATCHES:
        figures[SUCCESS] = success(target, works, least)
        figures["recovery of tokens outside the patch, %"] = elsewhere(target, attack, results)
        if attack.id != STRONGEST and best > 0:
            figures[f"recovery as a share of {STRONGEST}'s, %"] = 100 * taken / best
    said = budget_text({"norm": attack.norm, "eps": attack.eps})
    called = f"{attack.id} of {STRONGEST}" if attack.id == AutoExpected.id else attack.name
    for metric, ours in figures.items():
        yield Row(name, called, said, metric, ours, _published(name, attack, metric), spent / count, count)


def recovery(target: Target, results: Sequence[AttackResult]) -> float:
    """Return how much of the saved FLOPs the attacked images take back, in per cent, all images together."""
    cost = target.prices.cost
    clean, found, most = (
        sum(float(cost(work).sum()) for work in works)
        for works in zip(*((each.clean.work, each.attacked.work, each.static) for each in results), strict=True)
    )
    return 100 * (found - clean) / (most - clean)


def success(target: Target, works: Sequence[Work], least: float) -> float:
    """Return SlowFormer's Attack Success in per cent: ``(F - F_min) / (F_max - F_min)`` of the mean FLOPs ``F``.

    Both limits are constants of the network, whatever images were attacked: ``F_max`` is the static bound.

    Args:
        target: prices the work.
        works: of attacked images.
        least: ``F_min``, see :func:`clean_cost`.
    """
    mean = float(target.prices.cost(Work.cat(works)).mean())
    most = float(target.prices.cost(target.static_work()))
    return 100 * (mean - least) / (most - least)


def clean_cost(target: Target, data: DataSet) -> float:
    """Return the mean FLOPs of clean test images, :data:`CLEAN` at most: the least in SlowFormer's figures."""
    inputs = target.read(data.load("test", CLEAN).inputs)
    assert isinstance(inputs, Tensor)
    return float(target.prices.cost(Work.cat([target.run(some).work for some in inputs.split(BATCH)])).mean())


def usage(target: TokenTarget, works: Sequence[Work]) -> float:
    """Return DeSparsify's token usage ratio (TUR) in per cent: tokens that layers ran, of all tokens of all layers."""
    return 100 * target.tokens(Work.cat(works)).double().mean().item() / target.token_count


def elsewhere(target: TokenTarget, attack: Attack, results: Sequence[AttackResult]) -> float:
    """Return the recovery, in tokens, of those that do not lie under the patch, in per cent."""
    clean = found = most = 0
    for each in results:
        pairs = ((each.clean_inputs, each.clean.work), (each.inputs, each.attacked.work))
        before, after = (tokens_run(target, images, target.tokens(work), attack.budget) for images, work in pairs)
        assert before is not None
        assert after is not None
        clean, found = clean + int(before.elsewhere.sum()), found + int(after.elsewhere.sum())
        most += before.most_elsewhere * len(each.inputs)
    return 100 * (found - clean) / (most - clean)


def _published(name: str, attack: Attack, metric: str) -> str:
    """Return the published figure of the same metric; empty if there is none."""
    mechanism = name.split("-")[0]
    each, universal, patch = DESPARSIFY[mechanism]
    if (attack.name, metric) == ("desparsify", RECOVERY):
        return f"{each} (DeiT-S)"
    if (attack.name, metric) == (UNIVERSAL, RECOVERY):
        return f"{patch if attack.norm in PATCHES else universal} (DeiT-S)"
    if (attack.id, metric, mechanism) == ("slowformer", SUCCESS, "avit"):
        return SLOWFORMER.get(attack.eps, "")
    return ""
