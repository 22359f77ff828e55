"""Vision transformers that skip tokens: SlowFormer's and DeSparsify's metrics, with controls beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.dense import Flat, Noise
from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.attacks.registry import load_attack
from torpor.attacks.tokens.under import tokens_run
from torpor.core.budget import PATCHES, budget_text
from torpor.core.errors import DataError
from torpor.targets.base import Target
from torpor.targets.tokens.target import TokenTarget
from torpor.zoo.registry import ZOO

TARGETS = ("avit-digits", "adavit-digits", "ats-digits", "avit-cifar10", "adavit-cifar10", "ats-cifar10")
BATCH = 32
PLANS = {
    "linf": (("Linf", 16 / 255, ("desparsify", "apgd-expected", "standard", "desparsify-universal")),),
    "patch": (
        ("patch", 0.08, ("slowformer", "desparsify-universal", "apgd-expected")),
        ("patch", 0.02, ("slowformer", "apgd-expected")),
    ),
}
"""Budgets and attacks; APGD on the expected cost has a patch for each image, which tells what patches can do at all."""
PARTS = tuple(f"{name}-{plan}" for name in TARGETS for plan in PLANS)
DESPARSIFY = {"ats": (74, 14, 40), "adavit": (44, 19, 32), "avit": (100, 25, 100)}
"""Published recovery on DeiT-S by mechanism: each image at Linf 16/255, universal, universal patch of 8 %."""


def rows(limit: int, data_dir: Path | None, part: str) -> list[Row]:
    """Measure a network under some budgets, if it has weights and data here."""
    name, plan = part.rsplit("-", 1)
    return list(_of(name, plan, limit, data_dir))


def _of(name: str, plan: str, limit: int, data_dir: Path | None) -> Iterator[Row]:
    try:
        target = ZOO[name].load()
        data = target.data(data_dir)
        batch = data.load("test", limit)
    except DataError:
        return
    inputs = target.read(batch.inputs)
    for norm, eps, attacks in PLANS[plan]:
        for attack in attacks:
            fitted: Attack = AutoExpected(norm=norm, eps=eps)
            if attack != fitted.id:
                fitted = load_attack(attack, norm=norm, eps=eps).fitted(target, data, 0)
            yield from _measured(name, fitted, target, inputs, batch.references)
        for control in (Noise(norm=norm, eps=eps), Flat(norm=norm, eps=eps)):
            yield from _measured(name, control, target, inputs, batch.references)


def _measured(name: str, attack: Attack, target: Any, inputs: Tensor, references: Tensor) -> Iterator[Row]:  # noqa: ANN401
    results = [
        attack(target, some, references=known)
        for some, known in zip(inputs.split(BATCH), references.split(BATCH), strict=True)
    ]
    passes = sum(float((each.candidates.forwards + each.candidates.backwards).sum()) for each in results)
    said = budget_text({"norm": attack.norm, "eps": attack.eps})
    agreed = torch.cat([target.agreement(each.attacked.outputs, each.clean.outputs) for each in results])
    found = [
        ("recovery, %", recovery(target, results), _published(name, attack)),
        ("class kept, %", 100 * agreed.float().mean().item(), ""),
    ]
    if attack.norm in PATCHES:
        found.append(("recovery of tokens outside the patch, %", elsewhere(target, attack, results), ""))
    for metric, ours, theirs in found:
        called = f"{attack.id} of standard" if attack.id == AutoExpected.id else attack.id
        yield Row(name, called, said, metric, ours, theirs, passes / len(inputs), len(inputs))


def recovery(target: Target, results: list[AttackResult]) -> float:
    """Return how much of the saved FLOPs the attacked images take back, in per cent, all images together."""
    cost = target.prices.cost
    clean, found, most = (
        sum(float(cost(work).sum()) for work in works)
        for works in zip(*((each.clean.work, each.attacked.work, each.static) for each in results), strict=True)
    )
    return 100 * (found - clean) / (most - clean)


def elsewhere(target: TokenTarget, attack: Attack, results: list[AttackResult]) -> float:
    """Return the same of the tokens that do not lie under the patch."""
    clean = found = most = 0
    for each in results:
        assert isinstance(each.inputs, Tensor)
        before, after = (tokens_run(target, images, attack.budget) for images in (each.clean_inputs, each.inputs))
        clean, found = clean + int(before.elsewhere.sum()), found + int(after.elsewhere.sum())
        most += before.most_elsewhere * len(each.inputs)
    return 100 * (found - clean) / (most - clean)


def _published(name: str, attack: Attack) -> str:
    each, universal, patch = DESPARSIFY[name.split("-")[0]]
    if attack.id == "desparsify":
        return f"{each} (DeiT-S)"
    if attack.id == "desparsify-universal":
        return f"{patch if attack.norm in PATCHES else universal} (DeiT-S)"
    if attack.id == "slowformer" and name.startswith("avit"):
        return "100 (abstract)" if attack.eps > 0.05 else "80 (abstract)"
    return ""
