from __future__ import annotations

import pytest
import torch
from ode_targets import MeanStem, Parts, decay, grays, noisy, random_ode
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.meters.flops import counting
from torpor.targets.ode.solver import Controller
from torpor.targets.ode.tableaus import ADAPTIVE_HEUN, DOPRI5, Tableau
from torpor.targets.ode.target import OdeTarget

LEVELS = torch.arange(256, dtype=torch.float64) / 255


@pytest.mark.parametrize("tableau", [DOPRI5, ADAPTIVE_HEUN])
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_equals_its_samples(tableau: Tableau, seed: int) -> None:
    target, images = random_ode(tableau, seed, max_steps=200), noisy(20, seed)
    whole = target.run(images)
    alone = [target.run(image[None]) for image in images]
    assert torch.cat([each.work.counts for each in alone]).equal(whole.work.counts)
    assert torch.allclose(torch.cat([each.outputs for each in alone]), whole.outputs, rtol=1e-6, atol=1e-6)
    assert len(set(whole.work.counts[:, 2].tolist())) > 1


def test_one_costly_mate_costs_the_batch_only_where_steps_are_shared() -> None:
    own, shared = decay(), decay().with_controller(shared=True)
    images = grays(0.0, 0.0, 0.0, 1.0)
    steps = own.steps(own.run(images).work)["steps"]
    assert steps.tolist() == [2, 2, 2, 11]
    together = shared.steps(shared.run(images).work)["steps"]
    alone = shared.steps(shared.run(images[:3]).work)["steps"]
    assert alone.tolist() == [2, 2, 2]
    assert together.unique().numel() == 1
    assert 2 < int(together[0]) <= 11
    assert shared.details()["shared_steps"] is True


def test_flops_are_those_that_the_counter_sees() -> None:
    target = random_ode()
    for image in noisy(6):
        with counting() as counter:
            outcome = target.run(image[None])
        assert counter.flops == target.prices.cost(outcome.work).item()
    assert [unit.flops for unit in target.units] == [2 * 16 * 6 + 2 * 6 * 3, 2 * 7 * 16 + 2 * 16 * 6, 0, 0]


def test_the_cap_is_the_static_bound_and_each_rung_halves_it() -> None:
    target = random_ode(ADAPTIVE_HEUN, 1, max_steps=9)
    images = noisy(8, 1)
    assert target.rungs() == 3
    for rung, most in enumerate((9, 4, 2)):
        capped = target.at_rung(rung)
        outcome, bound = capped.run(images), capped.max_work(images)
        assert (capped.steps(outcome.work)["steps"] == most).all()
        assert capped.prices.cost(outcome.work).equal(capped.prices.cost(bound))
        assert outcome.outputs.isfinite().all()
        signals = capped.signals(images)
        assert signals.margins.shape == (8, most - 1)
        assert signals.expected is not None
        assert (signals.expected > most).all()
        assert (signals.margins < 0).all()


@pytest.mark.parametrize("tableau", [DOPRI5, ADAPTIVE_HEUN])
def test_signals_imply_the_work(tableau: Tableau) -> None:
    target, images = random_ode(tableau, max_steps=64), noisy(10)
    signals, work = target.signals(images), target.run(images).work
    assert signals.work.counts.equal(work.counts)
    steps = target.steps(work)["steps"]
    assert (1 + (signals.margins < 0).sum(1)).equal(steps)
    assert (signals.margins.diff(dim=1) >= 0).all()
    assert signals.expected is not None
    assert signals.expected.ceil().to(torch.int64).equal(steps)


def test_step_sizes_have_gradients() -> None:
    target, images = random_ode(seed=1), noisy(4, 1).double().requires_grad_()
    step = 1e-5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = target.signals(images)
    for name in ("expected", "sizes", "margins"):
        value = getattr(found, name)
        (slope,) = torch.autograd.grad(value.sum(), images, retain_graph=True)
        with torch.no_grad():
            rise = [getattr(target.signals(images + sign * step), name).sum() for sign in (1, -1)]
        assert (2 * slope * step).sum().item() == pytest.approx((rise[0] - rise[1]).item(), rel=1e-3)


@pytest.mark.parametrize("tableau", [DOPRI5, ADAPTIVE_HEUN])
def test_brighter_images_of_the_toy_never_cost_less(tableau: Tableau) -> None:
    target = decay(tableau)
    steps = target.steps(target.run(grays(*LEVELS.tolist())).work)["steps"]
    assert (steps.diff() >= 0).all()
    assert steps[-1] > 2.5 * steps[0]
    exact = torch.exp(-(1 + 19 * LEVELS))
    assert torch.allclose(target.run(grays(*LEVELS.tolist())).outputs[:, 0].double(), exact, atol=4e-3)


def test_probes_do_the_work_that_they_tell() -> None:
    target = random_ode()
    for work, call in target.probes(noisy(1)):
        with counting() as counter:
            call()
        assert counter.flops == target.prices.cost(work).item()


class Mixing(nn.Module):
    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        return state.mean(0, keepdim=True) - state


class OneTime(nn.Module):
    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        return -state * time.item()


@pytest.mark.parametrize("slope", [Mixing(), OneTime()])
def test_right_hand_sides_that_do_not_fit_are_refused(slope: nn.Module) -> None:
    with pytest.raises(UsageError, match="expected a right-hand side"):
        OdeTarget(Parts(MeanStem(), slope, nn.Identity()), input_shape=(1, 4, 4))


class Exploding(nn.Module):
    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        return torch.where(time > 0.9, torch.nan, 1) * state


def test_states_that_are_no_numbers_are_refused() -> None:
    target = OdeTarget(Parts(MeanStem(), Exploding(), nn.Identity()), input_shape=(1, 4, 4))
    with pytest.raises(UsageError, match="expected finite states"):
        target.run(grays(0.5))
    with pytest.raises(UsageError, match="cap of 2 steps"):
        decay(max_steps=1)
    with pytest.raises(UsageError, match="got the solver 'euler'"):
        decay().with_controller(tableau="euler")


def test_the_fingerprint_follows_weights_and_controller() -> None:
    known = random_ode().fingerprint()
    assert random_ode().fingerprint() == known != random_ode(seed=1).fingerprint()
    assert random_ode().with_controller(rtol=1e-4).fingerprint() != known
    assert Controller(DOPRI5) == Controller(DOPRI5)
