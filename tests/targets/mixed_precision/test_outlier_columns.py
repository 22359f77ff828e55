"""Networks in 8 bits: their columns against a hand count, their products against exact ones, their FLOPs."""

from __future__ import annotations

import pytest
import torch
from column_targets import SIDE, random_images, row_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.gates.quantattack import QuantAttack
from torpor.core.errors import UsageError
from torpor.meters.flops import counting
from torpor.targets.mixed_precision.linear import OutlierLinear
from torpor.targets.mixed_precision.target import MixedPrecisionTarget


class Columns(nn.Module):
    """Each pixel is a column of one token."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(SIDE * SIDE, 2)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(images.flatten(1))
        return scores


def test_columns_above_the_threshold_are_counted() -> None:
    target = MixedPrecisionTarget(Columns(), [0.5], input_shape=(1, SIDE, SIDE))
    batch = random_images(5)
    assert target.run(batch).work.counts[:, 1].tolist() == (batch > 0.5).flatten(1).sum(1).tolist()


def test_the_product_is_that_of_full_precision_but_for_rounding() -> None:
    torch.manual_seed(1)
    linear = nn.Linear(6, 5).double()
    inputs = torch.randn(2, 3, 6, dtype=torch.float64)
    inputs[0, 1, 2] = 40.0
    layer, exact = OutlierLinear(linear, 6.0), linear(inputs)
    step = inputs.masked_fill(inputs.abs() > 6, 0).abs().amax(-1, keepdim=True) / 127
    largest = linear.weight.abs().amax()
    bound = 6 * (step / 2) * largest + inputs.abs().sum(-1, keepdim=True) * largest / 254
    assert ((layer(inputs) - exact).abs() <= bound).all()
    assert layer.seen.largest[0].argmax() == 2
    assert (layer.seen.largest > 1).sum() == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 8]))
def test_a_batch_is_its_samples(seed: int, count: int) -> None:
    target, batch = row_columns(), random_images(count, seed)
    whole = target.run(batch)
    for row in range(count):
        alone = target.run(batch[row : row + 1])
        assert torch.equal(alone.work.counts[0], whole.work.counts[row])
        assert alone.outputs[0].allclose(whole.outputs[row])


def test_signals_tell_the_work_of_a_run_and_have_gradients() -> None:
    target, batch = row_columns(), random_images(6)
    point = batch.clone().requires_grad_()
    signals, outcome = target.signals(point), target.run(batch)
    assert torch.equal(signals.work.counts, outcome.work.counts)
    assert torch.equal((signals.margins < 0).sum(1), target.outliers(outcome.work))
    assert signals.scores.allclose(outcome.outputs)
    signals.margins.sum().backward()
    assert point.grad is not None
    assert (point.grad != 0).any()


def test_rounding_passes_gradients_straight_through() -> None:
    torch.manual_seed(0)
    layer = OutlierLinear(nn.Linear(5, 3).double(), threshold=1.5)
    point, pull = torch.randn(2, 4, 5).double().requires_grad_(), torch.randn(2, 4, 3).double()
    (layer(point) * pull).sum().backward()
    outliers = layer.seen.largest > 1
    assert outliers.any()
    assert not outliers.all()
    assert point.grad is not None
    assert point.grad.allclose(pull @ (layer.levels * layer.scale[:, None]))


def test_flops_are_those_of_a_counter() -> None:
    target, batch = row_columns(), random_images(1)
    with counting() as counter:
        outcome = target.run(batch)
    assert target.outliers(outcome.work) > 0
    assert counter.flops == target.prices.cost(outcome.work).item()


def test_the_worst_case_of_a_layer_on_pixels_is_found() -> None:
    target, batch, levels = MixedPrecisionTarget(Columns(), [0.5], input_shape=(1, SIDE, SIDE)), random_images(3), 25
    reachable = ((batch * 255).round() + levels > 0.5 * 255).flatten(1).sum(1)
    classes = torch.zeros(3, dtype=torch.int64)
    standard = Standard(norm="Linf", eps=levels / 255)(target, batch, references=classes)
    assert standard.attacked.work.counts[:, 1].tolist() == reachable.tolist()


def test_the_paper_s_attack_makes_outliers_of_nearly_outliers() -> None:
    target, batch = row_columns(0.1), random_images(8)
    result = QuantAttack(norm="Linf", eps=8 / 255, steps=100)(target, batch, references=torch.zeros(8).long())
    before, after = (target.outliers(each.work) for each in (result.clean, result.attacked))
    assert (after >= before).all()
    assert after.sum() > 1.2 * before.sum()


def test_a_layer_that_is_called_twice_is_refused() -> None:
    class Twice(Columns):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + super().forward(images)

    with pytest.raises(UsageError, match="called once"):
        MixedPrecisionTarget(Twice(), [0.5], input_shape=(1, SIDE, SIDE))


def test_thresholds_must_fit_the_layers() -> None:
    with pytest.raises(UsageError, match="one threshold above 0 for each of 1 linear layers"):
        MixedPrecisionTarget(Columns(), [0.5, 0.5], input_shape=(1, SIDE, SIDE))
