"""Targets that halt: known work of a toy, rows that leave, margins, caps, and the network on digits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.core.errors import UsageError
from torpor.data.images import Digits, to_unit
from torpor.meters.flops import count_flops
from torpor.serving.affordable import affordable
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.halting import HaltingDepthTarget, halting_margins
from torpor.zoo.networks.act import HaltingNetwork
from torpor.zoo.registry import act_digits

SIDE, DEPTH, SLACK = 4, 4, 0.05


class Doubling(nn.Conv2d):
    """Doubles the second channel of its state, and notes how many rows it saw."""

    def __init__(self) -> None:
        super().__init__(2, 2, 1, bias=False)
        self.seen: list[int] = []
        with torch.no_grad():
            self.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(2, 2, 1, 1))

    def forward(self, state: Tensor) -> Tensor:
        self.seen.append(len(state))
        return super().forward(state)


class Mean(nn.Module):
    """The mean of the image, channel 0, as the logit of the halting score: bright images halt early."""

    def forward(self, state: Tensor) -> Tensor:
        return 6 * state[:, :1].mean((2, 3)) - 3


class Stem(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, torch.ones_like(images)], 1)


class Toy(nn.Module):
    """Every block has the same halting score, which grows with the mean of the image."""

    slack = SLACK

    def __init__(self) -> None:
        super().__init__()
        self.shape = (1, SIDE, SIDE)
        self.stem = Stem()
        self.blocks = nn.ModuleList(Doubling() for _ in range(DEPTH))
        self.halts = nn.ModuleList(Mean() for _ in range(DEPTH - 1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def grays(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).contiguous()


def expected(level: float, cap: int = DEPTH) -> tuple[int, float]:
    """Return how many blocks an image of this gray runs, and the mean of the doubled channel, by hand."""
    score = 1 / (1 + 2.718281828459045 ** -(6 * level - 3))
    total, mean = 0.0, 0.0
    for k in range(1, cap + 1):
        if k == cap or total + score >= 1 - SLACK:
            return k, mean + (1 - total) * 2**k
        total, mean = total + score, mean + score * 2**k
    raise AssertionError


def noisy(count: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 12, 12, generator=rng)


def random_target(seed: int) -> HaltingDepthTarget:
    """Return an untrained network with halting scores that tell random images apart."""
    torch.manual_seed(seed)
    module = HaltingNetwork((1, 12, 12), 6, 5, stride=2, num_classes=3, mean=(0.5,), std=(0.3,))
    module.eval()
    with torch.no_grad():
        state = module.stem(noisy(64, seed + 50))
        for block, unit in zip(module.blocks, module.halts, strict=False):
            state = block(state)
            hidden = unit[:-1](state)  # type: ignore[index]
            says = unit[-1]  # type: ignore[index]
            says.running_mean.copy_(hidden.mean(0))
            says.running_var.copy_(hidden.var(0) + 1e-8)
    return HaltingDepthTarget(module)


def test_work_and_outputs_of_a_toy_are_known() -> None:
    target = HaltingDepthTarget(Toy())
    levels = (0.0, 0.3, 0.5, 0.7, 1.0)
    assert [unit.flops for unit in target.units] == [0, *[2 * 2 * 2 * SIDE * SIDE] * DEPTH]
    outcome = target.run(grays(*levels))
    depths, means = zip(*(expected(level) for level in levels), strict=True)
    assert target.depth(outcome.work).tolist() == list(depths) == [4, 4, 2, 2, 1]
    assert outcome.outputs[:, 1].tolist() == pytest.approx(means)
    assert outcome.work.counts[2].tolist() == [1, 1, 1, 0, 0]
    assert target.max_work(grays(0.5)).counts.tolist() == [[1] * 5]
    assert target.least_work().counts.tolist() == [[1, 1, 0, 0, 0]]


def test_a_row_that_halted_never_enters_another_block() -> None:
    module = Toy()
    target = HaltingDepthTarget(module)
    for block in module.blocks:
        assert isinstance(block, Doubling)
        block.seen.clear()
    images = grays(0.0, 0.3, 0.5, 0.7, 1.0)
    target.run(images)
    assert [block.seen for block in module.blocks] == [[5], [4], [2], [2]]
    assert images.equal(grays(0.0, 0.3, 0.5, 0.7, 1.0))


def test_all_units_together_are_the_whole_network() -> None:
    for target in (act_digits(), random_target(0)):
        assert isinstance(target, HaltingDepthTarget)
        total = count_flops(target.module, torch.zeros(1, *target.space.shape))
        assert sum(unit.flops or 0 for unit in target.units) == total


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_equals_its_samples(seed: int) -> None:
    target = random_target(seed)
    images = noisy(40, seed + 100)
    whole = target.run(images)
    assert len(target.depth(whole.work).unique()) > 1
    alone = [target.run(image[None]) for image in images]
    assert torch.cat([each.work.counts for each in alone]).equal(whole.work.counts)
    assert torch.allclose(torch.cat([each.outputs for each in alone]), whole.outputs, atol=1e-5)
    signals = target.signals(images)
    assert signals.work.counts.equal(whole.work.counts)
    assert (signals.margins < 0).equal(whole.work.counts[:, 2:] == 1)


def test_ties_are_decided_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    target = HaltingDepthTarget(Toy())
    sizes: list[int] = []
    passed = target._pass

    def noted(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes.append(len(inputs))
        return passed(inputs)

    monkeypatch.setattr(target, "_pass", noted)
    edge = (torch.tensor((1 - SLACK) / 2).logit().item() + 3) / 6  # two scores are the threshold
    target.run(grays(0.1, edge, 0.9))
    assert sizes == [3, 1]


def test_margins_have_the_sign_of_the_sum_and_a_gradient_where_sigmoids_end() -> None:
    logits = 4 * torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    margins = halting_margins(logits, SLACK)
    assert (margins >= 0).equal(logits.sigmoid().cumsum(1) >= 1 - SLACK)
    assert all((later >= earlier).all() for earlier, later in pairwise(margins.unbind(1)))
    sure = torch.full((1, 1), 60.0, requires_grad=True)  # the sigmoid is 1 in float32, and its slope 0
    assert torch.autograd.grad(halting_margins(sure, SLACK).sum(), sure)[0].item() == pytest.approx(1)


def test_signals_hold_the_scores_of_the_paper() -> None:
    target = HaltingDepthTarget(Toy())
    signals = target.signals(grays(0.5, 1.0))
    assert signals.halting is not None
    assert signals.halting[:, 0].tolist() == pytest.approx([0.5, 0.9525741])
    assert signals.savings is not None
    assert signals.savings.shape == (DEPTH - 1,)
    assert type(signals) is target.family.signals


def test_a_cap_on_the_depth_bounds_the_work_and_ends_the_sum() -> None:
    target = HaltingDepthTarget(Toy())
    images = grays(0.0, 0.5, 1.0)
    assert target.rungs() == DEPTH - 1
    for rung in range(target.rungs()):
        capped = target.at_rung(rung)
        outcome = capped.run(images)
        depths, means = zip(*(expected(level, DEPTH - rung) for level in (0.0, 0.5, 1.0)), strict=True)
        assert capped.depth(outcome.work).tolist() == list(depths)
        assert outcome.outputs[:, 1].tolist() == pytest.approx(means)
        assert capped.depth(capped.static_work()).tolist() == [DEPTH - rung]
        assert capped.signals(images).work.counts.equal(outcome.work.counts)
    assert target.cap == DEPTH
    price = target.units[1].flops or 0
    afforded = affordable(target, images, 3 * 2.5 * price)  # three images, each two blocks and a half
    assert isinstance(afforded, HaltingDepthTarget)
    assert afforded.cap == 2
    assert target.at_rung(1).fingerprint() != target.fingerprint()


def test_an_attack_reaches_the_known_worst_case() -> None:
    target = HaltingDepthTarget(Toy())
    images = grays(0.9, 0.7, 0.5)
    eps = 51 / 255
    worst = [expected(level - eps)[0] for level in (0.9, 0.7, 0.5)]
    found = AutoExpected(norm="Linf", eps=eps, steps=10)(target, images, references=torch.zeros(3, dtype=torch.int64))
    assert target.depth(target.run(found.inputs).work).tolist() == worst == [2, 2, 4]


def test_probes_run_to_every_depth() -> None:
    target = random_target(0)
    found = list(target.probes(noisy(1, 7)))
    assert [int(target.depth(work)) for work, _ in found] == [1, 2, 3, 4, 5]
    for _, call in found:
        call()


def test_networks_without_halting_units_and_numbers_are_refused() -> None:
    module = Toy()
    module.halts = nn.ModuleList()
    with pytest.raises(UsageError, match="halting units for all but the last"):
        HaltingDepthTarget(module)
    target = random_target(0)
    with torch.no_grad():
        target.module.head[1].weight.fill_(torch.nan)
    with pytest.raises(UsageError, match="got NaN"):
        target.run(noisy(2, 8))


def test_the_network_on_digits_halts_and_is_right() -> None:
    target, batch = act_digits(), Digits().load("test", 200)
    assert isinstance(target, GatedClassifier)
    outcome = target.run(to_unit(batch.inputs))
    assert target.utility(outcome.outputs, batch.references).mean() > 0.97
    assert target.prices.cost(outcome.work).mean() < 0.6 * target.prices.cost(target.static_work())
    assert len(outcome.work.counts.unique(dim=0)) > 3
    assert isinstance(target.data(Path("nowhere")), Digits)
