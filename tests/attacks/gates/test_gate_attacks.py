from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gated_networks import noisy, random_target
from skip_targets import images_of, nested
from torch import Tensor

from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import Noise
from torpor.attacks.early_exit.climbs import GuardedGates
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.gates.deepperform import DeepPerform
from torpor.attacks.gates.ereba import EREBA
from torpor.attacks.gates.gradauto import GradAuto, OpenClosed
from torpor.attacks.gates.gradmdm import GradMDM
from torpor.attacks.gates.ilfo import ILFO, HaltLate, OpenAll
from torpor.attacks.gates.layerwise import layerwise_slope
from torpor.attacks.iterative import slope_of, without_conflict
from torpor.attacks.search.objectives import PowerLosses, length
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals
from torpor.core.work import Work
from torpor.targets.halting import HaltingDepthSignals
from torpor.targets.layer_skipping import LayerSkippingTarget
from torpor.targets.tokens.signals import PatchHaltingSignals
from torpor.zoo.registry import act_digits

EPS = 12 / 255


def recovery(attack: Attack, target: LayerSkippingTarget, images: Tensor) -> float:
    """Return the share of what skipping saved that the attack took back."""
    result = attack(target, images, references=torch.zeros(len(images), dtype=torch.int64), seed=1)
    clean, attacked, static = (
        target.prices.cost(work).sum() for work in (result.clean.work, result.attacked.work, result.static)
    )
    return ((attacked - clean) / (static - clean)).item()


@pytest.fixture(scope="module")
def target() -> LayerSkippingTarget:
    return random_target(1)


@pytest.fixture(scope="module")
def images(target: LayerSkippingTarget) -> Tensor:
    snapped = target.space.snap(noisy(24, 11))
    assert isinstance(snapped, Tensor)
    return snapped


@pytest.mark.parametrize("kind", [ILFO, GradAuto, GradMDM])
@pytest.mark.parametrize(("norm", "eps"), [("Linf", EPS), ("L2", 0.3)])
def test_paper_attacks_recover_more_than_noise(
    kind: type[ILFO | GradAuto | GradMDM], norm: str, eps: float, target: LayerSkippingTarget, images: Tensor
) -> None:
    found = recovery(kind(norm=norm, eps=eps, steps=30), target, images)
    assert found > 2 * recovery(Noise(norm=norm, eps=eps), target, images) + 0.1


def test_conflicts_can_be_resolved_at_every_gate(target: LayerSkippingTarget, images: Tensor) -> None:
    found = recovery(GradMDM(eps=EPS, steps=30, layerwise=True), target, images)
    assert found > 2 * recovery(Noise(eps=EPS), target, images) + 0.1
    with pytest.raises(UsageError, match="tells what enters each of its gates, got gates alone; leave out layerwise"):
        GradMDM(layerwise=True)(nested(), images_of(nested()))


def test_nothing_that_opposes_the_guard_is_left_of_a_layerwise_gradient(
    target: LayerSkippingTarget, images: Tensor
) -> None:
    losses = PowerLosses(3.5, 0.35, warm_up=0)
    point = images.clone().requires_grad_()
    signals = target.signals(point)
    guard = losses.guard(signals, 0)
    assert guard is not None
    own = layerwise_slope(signals, losses(signals, 0, {}), guard, point)
    again = layerwise_slope(signals, losses(signals, 0, {}), guard, point)
    assert own.equal(again)  # nothing is remembered
    lengths = own.flatten(1).norm(dim=1)
    assert (torch.isclose(lengths, torch.ones(()), atol=1e-5) | (lengths == 0)).all()
    plain = slope_of(target.signals(point), losses(target.signals(point), 0, {}), None, point)
    assert not torch.allclose(torch.nn.functional.normalize(plain.flatten(1)), own.flatten(1), atol=1e-3)
    rows = [layerwise_slope(*_one(target, images[row : row + 1], losses)) for row in (0, 1)]
    assert torch.allclose(torch.cat(rows), own[:2], atol=1e-4)


def _one(
    target: LayerSkippingTarget, image: Tensor, losses: PowerLosses
) -> tuple[GateSignals, Tensor, Tensor | None, Tensor]:
    point = image.clone().requires_grad_()
    signals = target.signals(point)
    return signals, losses(signals, 0, {}), losses.guard(signals, 0), point


def test_halting_scores_are_lowered_as_in_the_paper(target: LayerSkippingTarget, images: Tensor) -> None:
    work = Work(torch.ones(1, 3, dtype=torch.int64))
    blocks = HaltingDepthSignals(None, torch.zeros(1, 2), work, halting=torch.tensor([[0.2, 0.75]]))
    patches = PatchHaltingSignals(None, torch.zeros(1, 2), work, halting=torch.tensor([[[0.2], [0.75], [1.0]]]))
    assert [round(HaltLate(0.1)(each, 0, {}).item(), 3) for each in (blocks, patches)] == [0.35, 0.35]
    halts = act_digits()
    digits = halts.read(halts.data(None).load("test", 4).inputs)
    result = ILFO(form="halting", eps=32 / 255, steps=40)(halts, digits)
    assert halts.prices.cost(result.attacked.work).sum() > halts.prices.cost(result.clean.work).sum()
    with pytest.raises(UsageError, match="expected a network that halts, got gates without halting scores"):
        ILFO(form="halting")(target, images)


@pytest.mark.parametrize("norm", ["Linf", "L2", "patch"])
def test_the_ensemble_finds_no_less_than_gradmdm(norm: str, target: LayerSkippingTarget, images: Tensor) -> None:
    eps = {"Linf": EPS, "L2": 0.3, "patch": 0.25}[norm]
    some = images[:4]
    member = GuardedGates(norm=norm, eps=eps)(target, some)
    assert (target.prices.cost(member.attacked.work) > target.prices.cost(member.clean.work)).any()
    whole = Standard(norm=norm, eps=eps)(target, some)
    assert (target.prices.cost(whole.attacked.work) >= target.prices.cost(member.attacked.work)).all()
    assert "adam-guarded" in {point.member for curve in whole.curves or () for point in curve}


def test_a_trained_generator_recovers_more_than_noise(target: LayerSkippingTarget, images: Tensor) -> None:
    attack = DeepPerform(eps=EPS, steps=60).fit(target, noisy(64, 12), seed=0)
    assert recovery(attack, target, images) > recovery(Noise(eps=EPS), target, images) + 0.1
    assert attack.forwards_before == 60 * 32


def test_a_surrogate_of_cost_recovers_more_than_noise(target: LayerSkippingTarget, images: Tensor) -> None:
    attack = EREBA(eps=EPS, rounds=3, steps=40).fit(target, noisy(96, 13), seed=0)
    assert recovery(attack, target, images) > recovery(Noise(eps=EPS), target, images) + 0.05
    assert attack.forwards_before == 3 * 96


@pytest.mark.parametrize("attack", [DeepPerform(eps=EPS, steps=3), EREBA(eps=EPS, rounds=3, steps=3)])
def test_what_was_learned_is_kept(attack: DeepPerform | EREBA, target: LayerSkippingTarget, images: Tensor) -> None:
    with pytest.raises(UsageError, match="expected a fitted attack"):
        attack(target, images)
    assert not attack.state()
    before = torch.random.get_rng_state()
    fitted = attack.fit(target, noisy(40, 14), seed=5)
    assert torch.random.get_rng_state().equal(before)
    again = attack.with_state(fitted.state())
    assert again.forwards_before == fitted.forwards_before > 0
    found = fitted(target, images).candidates
    assert again(target, images).candidates.inputs.equal(found.inputs)
    assert attack.fit(target, noisy(40, 14), seed=5)(target, images).candidates.inputs.equal(found.inputs)


def test_losses_are_zero_where_everything_runs() -> None:
    runs = GateSignals(None, torch.full((2, 3), -9.0), Work(torch.ones(2, 3, dtype=torch.int64)))
    assert OpenAll()(runs, 0, {}).tolist() == OpenClosed()(runs, 0, {}).tolist() == [0, 0]


def test_high_powers_of_small_probabilities_have_a_gradient() -> None:
    margins = torch.tensor([[60.0, 50.0]], requires_grad=True)
    losses = PowerLosses(closed=50.0, opened=50.0, warm_up=10)
    signals = GateSignals(None, margins, Work(torch.ones(1, 2, dtype=torch.int64)))
    (slope,) = torch.autograd.grad(losses(signals, 10, {}).sum(), margins)
    assert (slope >= 0).all()
    assert slope[0, 1] > 0  # the gate that is nearest to running
    (warm,) = torch.autograd.grad(losses(signals, 9, {}).sum(), margins)
    assert warm[0, 1] > warm[0, 0] > 0


@pytest.mark.parametrize("power", [0.35, 1.0, 3.5])
def test_lengths_are_those_of_plain_arithmetic(power: float) -> None:
    values = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).double() / 2
    assert torch.allclose(length(values.log(), power), values.pow(power).sum(1).pow(1 / power))


def test_no_step_raises_the_guard_to_first_order() -> None:
    rng = torch.Generator().manual_seed(0)
    gradient, guard = torch.randn(50, 3, 4, generator=rng), torch.randn(50, 3, 4, generator=rng)
    freed = without_conflict(gradient, guard).flatten(1)
    change = -(freed * guard.flatten(1)).sum(1)  # of the guard's loss along the descent
    assert (change <= 1e-5).all()
    agreed = (gradient * guard).flatten(1).sum(1) >= 0
    assert 0 < agreed.sum() < 50
    unit = torch.nn.functional.normalize(gradient.flatten(1))
    assert torch.allclose(freed[agreed], unit[agreed], atol=1e-6)
    assert without_conflict(torch.zeros(1, 2), torch.ones(1, 2)).tolist() == [[0, 0]]


def test_work_without_gates_is_refused(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    target = random_target(0)
    evaluate = target.signals
    monkeypatch.setattr(target, "signals", lambda inputs: replace(evaluate(inputs), margins=inputs.new_zeros(1, 0)))
    for attack in (ILFO(), GradMDM()):
        with pytest.raises(UsageError, match="expected gates that save units"):
            attack(target, images)
    with pytest.raises(UsageError, match="expected gates that save units"):
        DeepPerform().fit(target, images)


def test_powers_and_counts_must_be_positive() -> None:
    with pytest.raises(UsageError, match="expected powers above 0"):
        GradMDM(opened=0.0)
    with pytest.raises(UsageError, match="expected 1 step"):
        DeepPerform(steps=0)
    with pytest.raises(UsageError, match="expected 1 round"):
        EREBA(queries=99)
