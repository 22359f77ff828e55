"""What an accelerator that skips zeros counts, by brute force, the counter of FLOPs, and a network known in full."""

from __future__ import annotations

import pytest
import torch
from activity_targets import LEVEL, bright_pixels, ramp
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.accelerator_prices import JOULES_PER_OPERATION, JOULES_PER_WORD
from torpor.core.errors import MeterError, UsageError
from torpor.core.work import PriceList
from torpor.data.images import Digits, to_unit
from torpor.meters.flops import count_flops
from torpor.targets.fan_out import fan_out
from torpor.targets.zero_skipping.target import ZeroSkippingTarget
from torpor.zoo.registry import sparse_digits

CONVS = (
    nn.Conv2d(2, 4, 3, padding=1),
    nn.Conv2d(2, 4, 3, stride=2, padding=1),
    nn.Conv2d(2, 6, (3, 2), padding=(0, 1), dilation=2),
    nn.Conv2d(4, 8, 3, groups=2, stride=(1, 2)),
)


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_multiply_adds_are_those_of_brute_force(conv: nn.Conv2d) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, conv.in_channels, 7, 9).relu()
    active = (image != 0).to(torch.float64)
    taps = F.unfold(active, conv.kernel_size, conv.dilation, conv.padding, conv.stride)  # type: ignore[arg-type]
    expected = taps.sum().item() * conv.out_channels / conv.groups
    assert (active[0] * fan_out(conv, (conv.in_channels, 7, 9))).sum().item() == expected


def test_a_run_without_zeros_is_what_the_counter_counts_less_padding() -> None:
    conv = nn.Conv2d(2, 4, 3)
    assert 2 * fan_out(conv, (2, 6, 5)).sum().item() == count_flops(conv, torch.ones(1, 2, 6, 5))
    padded = nn.Conv2d(2, 4, 3, padding=1)
    inside = fan_out(conv, (2, 8, 7))[:, 1:-1, 1:-1]
    assert fan_out(padded, (2, 6, 5)).equal(inside)


def test_a_network_with_one_neuron_per_pixel_counts_bright_pixels() -> None:
    target, image = bright_pixels(), ramp()
    bright = int((image > LEVEL).sum())
    outcome = target.run(image)
    assert outcome.work.counts.tolist() == [[16 * 16, 16, 2 * bright, bright, 16 + 16 + 2 * 16, 2]]
    assert target.static_work().counts.tolist() == [[16 * 16, 16, 2 * 16, 16, 16 + 16 + 2 * 16, 2]]
    assert target.run(torch.ones(1, 1, 4, 4)).work.counts.equal(target.static_work().counts)
    assert target.run(torch.zeros(1, 1, 4, 4)).work.counts[0, :4].sum() == 0
    assert target.density(outcome.work).item() == bright / 16


def test_energy_is_that_of_words_and_multiply_adds() -> None:
    target, image = bright_pixels(), ramp()
    bright, weights = int((image > LEVEL).sum()), 16 + 16 + 2 * 16  # those of the identity that are not zero

    def joules(active: int) -> float:
        words = 16 + 2 * active + weights + 2
        return words * JOULES_PER_WORD + (16 * 16 + 2 * active) * JOULES_PER_OPERATION

    found = target.energy_ratio(target.run(image).work).item()
    assert found == pytest.approx(joules(bright) / joules(16), rel=1e-12)


def test_a_batch_equals_batches_of_one() -> None:
    target, images = sparse_digits(), to_unit(Digits().load("test", 6).inputs)
    whole = target.run(images)
    for row in range(len(images)):
        assert target.run(images[row : row + 1]).work.counts.equal(whole.work.counts[row : row + 1])
    assert target.signals(images).work.counts.equal(whole.work.counts)
    assert (whole.work.counts <= target.max_work(images).counts).all()


def test_neurons_that_do_not_fire_have_a_gradient() -> None:
    target, image = bright_pixels(), ramp().requires_grad_()
    signals = target.signals(image)
    assert signals.margins.shape == (1, 0)
    assert signals.expected is not None
    (gradient,) = torch.autograd.grad(signals.expected.sum(), image)
    assert (gradient > 0).all()


def test_a_cap_bounds_every_layer_but_the_first() -> None:
    target, bright = bright_pixels().with_density(0.25), torch.ones(1, 1, 4, 4)
    assert target.run(bright).work.counts[0, :4].tolist() == [16 * 16, 16, 2 * 4, 4]
    assert target.static_work().counts[0, :4].tolist() == [16 * 16, 16, 2 * 4, 4]
    assert target.signals(bright).work.counts[0, 3] == 4
    with pytest.raises(UsageError, match="expected shares of activations above 0 and at most 1, got 0"):
        target.with_density(0)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(self.layer(images.flatten(1)).relu())
        return found


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return torch.matmul(self.layer(images.flatten(1)).relu(), torch.ones(4, 2, dtype=images.dtype))


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(MeterError, match="run once each"):
        ZeroSkippingTarget(Twice(), input_shape=(1, 2, 2))
    with pytest.raises(MeterError, match="convolutions and linear layers alone"):
        ZeroSkippingTarget(Product(), input_shape=(1, 2, 2))
    with pytest.raises(MeterError, match="simulated accelerator"):
        bright_pixels().probes(ramp())
    assert isinstance(bright_pixels().prices, PriceList)
