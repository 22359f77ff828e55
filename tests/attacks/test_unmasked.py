"""What a network computed is differentiated, whatever it says about its derivatives."""

from __future__ import annotations

import pytest
import torch
from attack_cases import images, random_net
from benchmarks.masked import FRONTS, HEADS, masked
from torch import Tensor

from torpor.attacks.iterative import gradient_of
from torpor.attacks.unmasked import Unmasked
from torpor.core.signals import GateSignals
from torpor.targets.early_exit.target import EarlyExitTarget

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
