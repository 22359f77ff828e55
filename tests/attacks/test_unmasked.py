"""What a network computed is differentiated, whatever it says about its derivatives."""

from __future__ import annotations

import pytest
import torch
from attack_cases import images, random_net
from benchmarks.masked import FRONTS, HEADS, masked
from torch import Tensor, nn

from torpor.attacks.iterative import gradient_of
from torpor.attacks.outside_torch import comparable, slopes
from torpor.attacks.unmasked import Unmasked
from torpor.core.signals import GateSignals
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.resolve import load_target

HIDING = tuple({*FRONTS, *HEADS, "detached-heads", "detached-bodies"} - {"rearranged-outside", "floored"})


def net() -> EarlyExitTarget:
    return random_net(3, (3, 6, 5))


def slope(target: EarlyExitTarget | Unmasked, inputs: Tensor) -> Tensor:
    point = inputs.clone().requires_grad_()
    return gradient_of(target.signals(point).margins.sum(), point)


@pytest.mark.parametrize("how", sorted(HIDING))
def test_the_gradient_is_that_of_the_network_without_masking(how: str) -> None:
    inputs, _ = images(net(), 3)
    hidden = masked(net(), how)
    replayed = slope(Unmasked(hidden), inputs)
    true = slope(net(), inputs)
    assert torch.cosine_similarity(replayed.flatten(1), true.flatten(1)).min() > 0.99
    assert Unmasked(hidden).differs(inputs)[0].all()


@pytest.mark.parametrize("how", ["plain", "in-place"])
def test_a_network_that_masks_nothing_does_not_differ(how: str) -> None:
    inputs, _ = images(net(), 3)
    differs, dead = Unmasked(masked(net(), how)).differs(inputs)
    assert not (differs | dead).any()


def test_values_and_work_are_those_of_the_target_where_nothing_rounds() -> None:
    inputs, _ = images(net(), 3)
    own, replayed = net().signals(inputs), Unmasked(net()).signals(inputs)
    assert replayed.margins.allclose(own.margins, atol=1e-5)
    assert replayed.work.counts.equal(own.work.counts)


def test_rounding_is_replaced_in_margins_but_not_in_the_work() -> None:
    inputs, _ = images(net(), 8)
    hidden = masked(net(), "rounded-logits")
    replayed = Unmasked(hidden).signals(inputs)
    assert replayed.margins.allclose(net().signals(inputs).margins, atol=1e-4)
    assert replayed.work.counts.equal(hidden.run(inputs).work.counts)


def test_what_comes_back_into_torch_rearranged_has_no_derivative() -> None:
    inputs, _ = images(net(), 2)
    hidden = Unmasked(masked(net(), "rearranged-outside"))
    assert not slope(hidden, inputs).any()
    differs, dead = hidden.differs(inputs)
    assert dead.all()
    assert not differs.any()


class Outside(EarlyExitTarget):
    """A network that reads its images in numpy, normalizes them there or in place, and looks at a template, too."""

    template = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    in_place = False

    def signals(self, inputs: Tensor) -> GateSignals:
        read = inputs.detach().numpy().copy()
        given = torch.from_numpy(read).sub_(0.5).div_(0.25) if self.in_place else torch.from_numpy((read - 0.5) / 0.25)
        return super().signals(given * 0.25 + 0.5 + 0 * self.template)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("in_place", [False, True])
def test_numpy_that_normalizes_keeps_the_gradient_of_each_image_alone(count: int, in_place: bool) -> None:
    inputs, _ = images(net(), 3)
    target = masked(net(), "plain")
    target.__class__, target.in_place = Outside, in_place  # type: ignore[attr-defined]
    hidden = Unmasked(target)
    assert hidden.signals(inputs[:count]).margins.allclose(net().signals(inputs[:count]).margins, atol=1e-5)
    assert slope(hidden, inputs[:count]).allclose(slope(net(), inputs[:count]), rtol=1e-3, atol=1e-5)
    assert hidden.differs(inputs[:count])[0].all()


@pytest.mark.parametrize(
    "values",
    [
        torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(2)),
        torch.ones(1, 3, 6, 5),
        nn.Parameter(torch.rand(1, 3, 6, 5)),
        torch.ones(1, 3, 6, 5, dtype=torch.bool),
        torch.rand(1, 3, 6, 5).to_sparse(),
        torch.rand(1, 3, 6, 5, dtype=torch.complex64),
        torch.empty(1, 3, 6, 5, device="meta"),
        torch.full((1, 3, 6, 5), -1e30),
        torch.rand(2),
    ],
    ids=["others", "constant", "learned", "bool", "sparse", "complex", "elsewhere", "mask", "short"],
)
def test_what_else_a_network_looks_at_is_no_input_that_came_back(values: Tensor) -> None:
    inputs, _ = images(net(), 1)
    assert not comparable(values, inputs) or not slopes(values, inputs).any()
    assert not comparable(torch.rand(1, 3, 1, 2), torch.rand(1, 3, 1, 2))  # two points are always on a line
    assert not slopes(inputs, torch.ones_like(inputs)).any()


@pytest.mark.parametrize("name", ["skipnet-digits", "act-digits", "cascade-digits"])
def test_networks_of_the_zoo_mask_nothing_one_by_one(name: str) -> None:
    target = load_target(name)
    inputs = target.read(target.data(None).load("test", 2).inputs)
    assert not any(Unmasked(target).differs(one)[0].any() for one in inputs.split(1))


class Bytes(EarlyExitTarget):
    """A network whose pixels pass through 8-bit integers, and whose alarm is a step."""

    def signals(self, inputs: Tensor) -> GateSignals:
        levels = (inputs * 255 + 0.5).to(torch.uint8)
        filled = torch.zeros_like(inputs)
        filled[:, :, 1:] = levels[:, :, 1:] / 255
        signals = super().signals(filled)
        object.__setattr__(signals, "alarm", (10 * inputs.flatten(1).mean(1)).floor() - 4)
        return signals


def test_integers_and_values_written_into_constants_keep_a_derivative_and_alarms_their_value() -> None:
    plain = net()
    inputs, _ = images(plain, 2)
    target = masked(plain, "plain")
    target.__class__ = Bytes
    found = slope(Unmasked(target), inputs)
    assert not found[:, :, 0].any()
    assert found[:, :, 1:].any()
    signals = Unmasked(target).signals(inputs.clone().requires_grad_())
    assert signals.alarm is not None
    assert signals.alarm.detach().equal((10 * inputs.flatten(1).mean(1)).floor() - 4)
    assert signals.alarm.requires_grad
