"""What networks of spiking neurons count: one neuron that is known in closed form, and the zoo's network."""

from __future__ import annotations

import pytest
import torch
from activity_targets import one_neuron
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from torpor.core.errors import MeterError, UsageError
from torpor.data.images import Digits, to_unit
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.spiking.network import SURROGATES, SpikingNetwork, fire
from torpor.targets.spiking.target import SpikingTarget
from torpor.zoo.registry import snn_digits

STEPS = 8


@given(st.integers(0, 254), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_a_neuron_without_leak_fires_like_the_floor_of_its_current(level: int, steps: int) -> None:
    pixel = torch.full((1, 1, 1, 1), level / 255)
    spikes, rest = divmod(steps * level, 255)
    assume(rest or not level)  # where the sum is a whole number, rounding of the pixel decides
    outcome = one_neuron(steps).run(pixel)
    assert outcome.work.counts.tolist() == [[1, steps, spikes, 2 * spikes]]
    assert one_neuron(steps).signals(pixel).work.counts.equal(outcome.work.counts)


def test_white_is_the_worst_case_of_that_neuron() -> None:
    target = one_neuron()
    assert target.run(torch.ones(1, 1, 1, 1)).work.counts.equal(target.static_work().counts)
    assert target.static_work().counts.tolist() == [[1, STEPS, STEPS, 2 * STEPS]]
    assert target.least_work().counts.tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_fire_alike_and_have_a_gradient_at_the_threshold(name: str) -> None:
    above = torch.tensor([-1.0, -0.2, 0.0, 0.2, 1.0], dtype=torch.float64, requires_grad=True)
    spikes = SURROGATES[name](above)
    assert spikes.equal(fire(above.detach()))
    (slope,) = torch.autograd.grad(spikes.sum(), above)
    assert (slope >= 0).all()
    assert slope[2] == slope.max() > 0


def test_synaptic_operations_are_those_of_brute_force() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    network = SpikingNetwork(
        nn.Conv2d(1, 2, 3, padding=1),
        [conv, nn.Sequential(nn.Flatten(), nn.Linear(3 * 9, 4))],
        steps=3,
        leak=0.8,
        input_shape=(1, 5, 5),
    )
    nn.init.normal_(network.encoder.weight, std=2)  # type: ignore[arg-type]
    nn.init.normal_(conv.weight)
    target, images = SpikingTarget(network, rule=None), torch.rand(4, 1, 5, 5)
    counts = target.run(images).work.counts
    _, spikes = network(images.double())
    taps = torch.stack([F.unfold(first, 3, padding=1, stride=2).sum((1, 2)) for first, _ in spikes])
    assert counts[:, 3].tolist() == (3 * taps.sum(0)).tolist()
    assert counts[:, 5].tolist() == (4 * torch.stack([each for _, each in spikes]).flatten(2).sum((0, 2))).tolist()
    assert counts[:, 2].sum() > 0
    assert counts[:, 4].sum() > 0
    blank = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    dense = count_flops(network.synapses[1], blank)  # a dense layer multiplies too
    assert target.static_work().counts[0, 5] * 2 == 3 * dense
    assert target.units[0].flops == count_flops(network.encoder, images[:1].double())


@pytest.mark.parametrize("threshold", [0.9, 0.95, 0.999])
def test_a_batch_equals_batches_of_one_wherever_runs_stop(threshold: float) -> None:
    target, images = snn_digits(), to_unit(Digits().load("test", 8).inputs)
    target.rule = Confidence(threshold)
    whole = target.run(images)
    assert target.timesteps(whole.work).unique().numel() > 1
    for row in range(len(images)):
        alone = target.run(images[row : row + 1])
        assert alone.work.counts.equal(whole.work.counts[row : row + 1])
        assert torch.allclose(alone.outputs, whole.outputs[row : row + 1])
    assert target.signals(images).work.counts.equal(whole.work.counts)
    assert (whole.work.counts <= target.max_work(images).counts).all()


def test_rungs_stop_earlier() -> None:
    target, images = snn_digits(), to_unit(Digits().load("test", 8).inputs)
    last = target.at_rung(target.rungs() - 1)
    assert last.timesteps(last.run(images).work).tolist() == [1] * 8
    assert last.signals(images).margins.shape == (8, 0)
    assert last.static_work().counts[0, 1] == 1
    with pytest.raises(UsageError, match="expected a rung from 0 to 7"):
        target.at_rung(8)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a surrogate among atan"):
        one_neuron().with_surrogate("relu")
    with pytest.raises(MeterError, match="simulated neuromorphic"):
        one_neuron().probes(torch.zeros(1, 1, 1, 1))
