from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gated_networks import noisy, random_target
from torch import Tensor, nn

from torpor.attacks.unmasked import Unmasked
from torpor.core.errors import UsageError
from torpor.data.images import Digits, to_unit
from torpor.meters.flops import count_flops
from torpor.targets.layer_skipping import LayerSkippingTarget
from torpor.zoo.registry import skipnet_digits

SIDE = 4


class Window(nn.Module):
    """A block that doubles what enters; its gate lets it where the mean of the image, channel 1, is in a window."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.branch, self.shortcut = nn.Conv2d(2, 2, 1, bias=False), nn.Identity()
        self.seen: list[int] = []
        with torch.no_grad():
            self.branch.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(2, 2, 1, 1))
        self.branch.register_forward_pre_hook(lambda module, given: self.seen.append(len(given[0])))

    def logit(self, features: Tensor) -> Tensor:
        mean = features[:, 1].mean((1, 2))
        return torch.minimum(mean - self.low, self.high - mean)


class Stem(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(images), images], 1)


class Windows(nn.Module):
    """Blocks whose windows all hold 0.5, and no other mean on the 8-bit grid: the worst case is known."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (1, SIDE, SIDE)
        self.stem = Stem()
        self.blocks = nn.ModuleList([Window(-1.0, 0.501), Window(0.497, 2.0), Window(0.2, 0.8)])
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def grays(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).contiguous()


def digits() -> LayerSkippingTarget:
    target = skipnet_digits()
    assert isinstance(target, LayerSkippingTarget)
    return target


def test_work_and_outputs_of_a_toy_are_known() -> None:
    target = LayerSkippingTarget(Windows())
    assert [unit.flops for unit in target.units] == [0, *[2 * 2 * 2 * SIDE * SIDE] * 3]
    outcome = target.run(grays(0.1, 0.3, 0.5, 0.7, 1.0))
    assert outcome.work.counts.tolist() == [[1, 1, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1], [1, 0, 1, 1], [1, 0, 1, 0]]
    assert outcome.outputs[:, 0].tolist() == [2, 4, 8, 4, 2]  # doubled by each block that ran
    assert target.max_work(grays(0.1)).counts.tolist() == outcome.work.counts[2:3].tolist()
    assert target.layers(outcome.work).tolist() == [1, 2, 3, 2, 1]


def test_a_skipped_row_never_enters_the_branch() -> None:
    module = Windows()
    target = LayerSkippingTarget(module)
    for block in module.blocks:
        assert isinstance(block, Window)
        block.seen.clear()
    target.run(grays(0.1, 0.3, 0.5, 0.7, 1.0))
    assert [block.seen for block in module.blocks] == [[3], [3], [3]]


def test_the_inputs_are_not_written_into() -> None:
    inputs = grays(0.5, 0.1)
    LayerSkippingTarget(Windows()).run(inputs)
    assert inputs.equal(grays(0.5, 0.1))


def test_all_units_together_are_the_whole_network() -> None:
    for target in (digits(), random_target(0)):
        module = target.module
        total = count_flops(module, torch.zeros(1, *target.space.shape))
        assert sum(unit.flops or 0 for unit in target.units) == total
        side = target.space.shape[1] // module.stem[1].stride[0]
        for block, unit in zip(module.blocks, target.units[1:], strict=True):
            side //= block.branch[0].stride[0]
            assert unit.flops == block.branch_flops(side * side)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_equals_its_samples(seed: int) -> None:
    target = random_target(seed)
    images = noisy(40, seed + 100)
    whole = target.run(images)
    assert 0.3 < whole.work.counts[:, 1:].to(torch.float64).mean() < 0.7
    alone = [target.run(image[None]) for image in images]
    assert torch.cat([each.work.counts for each in alone]).equal(whole.work.counts)
    assert torch.allclose(torch.cat([each.outputs for each in alone]), whole.outputs, atol=1e-5)
    signals = target.signals(images)
    assert signals.work.counts.equal(whole.work.counts)
    assert (signals.margins < 0).equal(whole.work.counts[:, 1:] == 1)


def test_ties_are_decided_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    target = LayerSkippingTarget(Windows())
    sizes: list[int] = []
    passed = target._pass

    def noted(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes.append(len(inputs))
        return passed(inputs)

    monkeypatch.setattr(target, "_pass", noted)
    target.run(grays(0.1, 0.2 + 5e-5, 0.5))  # the second is at an edge of the third window
    assert sizes == [3, 1]


def test_margins_have_their_gradient() -> None:
    target = random_target(1)
    images = noisy(6, 5).requires_grad_()
    signals = target.signals(images)
    assert signals.savings is not None
    assert signals.savings.tolist() == [unit.flops for unit in target.units[1:]]
    (slope,) = torch.autograd.grad(signals.margins[:, 0].sum(), images)
    step = 1e-2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        rise = target.signals(images + step).margins[:, 0] - target.signals(images - step).margins[:, 0]
    assert torch.allclose((2 * slope * step).sum((1, 2, 3)), rise, rtol=0.2, atol=0.05)


def test_the_gradient_is_that_of_what_ran() -> None:
    target = random_target(1)
    masked, dead = Unmasked(target).differs(noisy(8, 9))
    assert not masked.any()
    assert not dead.any()


def test_features_are_those_of_the_path() -> None:
    target = random_target(2)
    images = noisy(3, 6)
    linear = target.module.head[2]
    assert torch.allclose(linear(target.features(images)), target.run(images).outputs, atol=1e-5)


def test_probes_count_one_unit_each() -> None:
    target = random_target(0)
    found = list(target.probes(noisy(1, 7)))
    assert torch.cat([work.counts for work, _ in found]).equal(torch.eye(len(target.units), dtype=torch.int64))
    for _, call in found:
        call()


def test_networks_without_blocks_and_numbers_are_refused() -> None:
    module = Windows()
    module.blocks = nn.ModuleList()
    with pytest.raises(UsageError, match="expected a module with blocks"):
        LayerSkippingTarget(module)
    target = random_target(0)
    with torch.no_grad():
        target.module.head[2].weight.fill_(torch.nan)
    with pytest.raises(UsageError, match="got NaN"):
        target.run(noisy(2, 8))


def test_the_fingerprint_follows_the_weights() -> None:
    assert random_target(0).fingerprint() == random_target(0).fingerprint() != random_target(1).fingerprint()


def test_the_network_on_digits_skips_and_is_right() -> None:
    target, batch = digits(), Digits().load("test", 200)
    outcome = target.run(to_unit(batch.inputs))
    assert target.utility(outcome.outputs, batch.references).mean() > 0.97
    assert target.prices.cost(outcome.work).mean() < 0.7 * target.prices.cost(target.static_work())
    assert len(outcome.work.counts.unique(dim=0)) > 4
    assert isinstance(target.data(Path("nowhere")), Digits)
