"""Cascades: who is asked, what it costs, and the one on digits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from torpor.attacks.early_exit.climbs import AutoGates
from torpor.core.errors import UsageError
from torpor.data.images import Digits, to_unit
from torpor.meters.flops import count_flops
from torpor.targets import Confidence
from torpor.targets.cascade import CascadeTarget
from torpor.targets.early_exit.family import EarlyExitFamily
from torpor.zoo.registry import cascade_digits

SHAPE = (1, 4, 4)


class Brightness(nn.Module):
    """Two classes by how bright an image is: as sure of it as ``gain`` makes it, and rows that it saw are noted."""

    def __init__(self, gain: float, width: int) -> None:
        super().__init__()
        self.wide, self.gain = nn.Linear(16, width), gain
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        mean = images.mean((1, 2, 3)) + 0 * self.wide(images.flatten(1)).sum(1)
        return torch.stack([self.gain * (0.5 - mean), self.gain * (mean - 0.5)], 1)


def grays(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()


def toy() -> tuple[CascadeTarget, list[Brightness]]:
    """Return three classifiers; sure by 0.9 where the mean is at least 0.44, 0.22 and 0.11 from 0.5."""
    models = [Brightness(2.5, 1), Brightness(5.0, 4), Brightness(10.0, 16)]
    target = CascadeTarget(models, Confidence(0.9), input_shape=SHAPE)
    for model in models:
        model.seen.clear()
    return target, models


def test_each_is_asked_only_where_those_before_were_not_sure() -> None:
    target, models = toy()
    outcome = target.run(grays(1.0, 0.8, 0.55, 0.0, 0.45))
    assert outcome.work.counts.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert [model.seen for model in models] == [[5], [3], [2]]
    assert outcome.outputs.argmax(1).tolist() == [1, 1, 1, 0, 0]
    assert [unit.flops for unit in target.units] == [2 * 16 * width for width in (1, 4, 16)]


def test_its_measures_are_those_of_exits() -> None:
    target, _ = toy()
    assert isinstance(target.family, EarlyExitFamily)
    assert target.mechanism == "cascade"
    assert target.exits(target.run(grays(1.0, 0.5)).work).tolist() == [0, 2]


def test_a_cap_leaves_the_largest_out() -> None:
    target, models = toy()
    assert target.rungs() == 2
    capped = target.at_rung(1)
    outcome = capped.run(grays(0.5, 1.0))
    assert outcome.work.counts.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert capped.static_work().counts.tolist() == [[1, 1, 0]]
    assert models[2].seen == []


def test_an_attack_reaches_the_largest() -> None:
    target, _ = toy()
    images = grays(1.0, 0.75, 0.9)
    found = AutoGates(norm="Linf", eps=0.2, steps=10)(target, images, references=torch.ones(3, dtype=torch.int64))
    assert target.exits(target.run(found.inputs).work).tolist() == [1, 2, 2]  # 0.8, 0.55 and 0.7 are as far as it goes


def test_a_single_classifier_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        CascadeTarget([Brightness(1.0, 1)], Confidence(0.9), input_shape=SHAPE)


def test_the_cascade_on_digits_is_right_and_cheap() -> None:
    target, batch = cascade_digits(), Digits().load("test", 200)
    assert isinstance(target, CascadeTarget)
    outcome = target.run(to_unit(batch.inputs))
    assert target.utility(outcome.outputs, batch.references).mean() > 0.9
    assert {0, 1} <= set(target.exits(outcome.work).tolist())
    assert target.prices.cost(outcome.work).mean() < 0.1 * target.prices.cost(target.static_work())
    blank = torch.zeros(1, 1, 32, 32)
    whole = [count_flops(head, blank) for _, head in target.blocks]
    assert whole == [unit.flops for unit in target.units]
    assert set(target.named_rules) == {"drop:0.05", "drop:0.15"}
