"""Attacks on activity, on networks of which the most active image within a budget is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from activity_targets import LEVEL, bright_pixels, gray_scale, levels, one_neuron, ramp
from torch import Tensor

from torpor.attacks.activity.genetic import SpongeImages
from torpor.attacks.activity.sponge import LBFGS, SpongeVision, two_loops
from torpor.attacks.activity.uniform import UniformInputs
from torpor.attacks.base import Attack, Candidates
from torpor.attacks.controls.dense import Flat
from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.attacks.early_exit.square import PersistentSquare
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import BALLS
from torpor.core.errors import UsageError
from torpor.targets.zero_skipping.signals import DensitySignals

EPS = 25 / 255
REFERENCE = torch.tensor([0])
ATTACKS: tuple[Attack, ...] = (
    SpongeVision(eps=EPS, steps=20),
    SpongeVision(eps=EPS, steps=20, form="pgd"),
    SpongeVision(eps=EPS, steps=20, loss="norms", origin="random"),
    AutoExpected(eps=EPS, steps=20),
    SpongeImages(eps=EPS, pool=20, epochs=25),
)


IDS = [f"{attack.id}-{getattr(attack, 'form', '')}-{getattr(attack, 'loss', '')}" for attack in ATTACKS]


@pytest.mark.parametrize("attack", ATTACKS, ids=IDS)
def test_attacks_wake_every_neuron_that_the_budget_can_wake(attack: Attack) -> None:
    target, image = gray_scale(), ramp()
    result = attack(target, image, references=REFERENCE)
    mean = image.mean()
    awake, most = (int((levels() < brightness).sum()) for brightness in (mean, mean + EPS))
    assert 0 < awake < most < 16
    assert result.clean.work.counts[0, 3] == awake
    found = int(result.attacked.work.counts[0, 3])
    assert awake < found <= most if attack.id == "sponge-ga" else found == most


def test_norms_do_not_wake_neurons_that_nothing_else_drives() -> None:
    target, image = bright_pixels(), ramp()
    most = int((image + EPS > LEVEL).sum())
    found = [
        int(attack(target, image, references=REFERENCE).attacked.work.counts[0, 3])
        for attack in (
            AutoExpected(eps=EPS, steps=20),
            SpongeVision(eps=EPS, steps=20, form="pgd", loss="norms", origin="random"),
        )
    ]
    assert found[0] == most > found[1]


def test_sponges_cost_no_less_than_the_flat_image_that_they_start_from() -> None:
    target, image = bright_pixels(), ramp()
    flat = Flat(eps=EPS)(target, image, references=REFERENCE)
    for norm, eps in (("Linf", EPS), ("L2", 0.5)):
        found = SpongeVision(norm=norm, eps=eps, steps=1)(target, image, references=REFERENCE)
        assert found.candidates.forwards.tolist() == [2 + 11]
        if norm == "Linf":
            assert target.prices.cost(found.attacked.work) >= target.prices.cost(flat.attacked.work)


def test_the_ensemble_finds_flat_images_that_no_gradient_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    target, image = bright_pixels(), ramp()
    tell = target.signals

    def mute(inputs: Tensor) -> DensitySignals:
        signals = tell(inputs)
        assert signals.expected is not None
        return replace(signals, expected=0 * signals.expected)

    monkeypatch.setattr(target, "signals", mute)
    monkeypatch.setattr(PersistentSquare, "search", lambda self, target, inputs, *rest: nothing(inputs))
    found = Standard(eps=EPS)(target, image, references=REFERENCE)
    flat = Flat(eps=EPS)(target, image, references=REFERENCE)
    assert target.prices.cost(found.attacked.work) >= target.prices.cost(flat.attacked.work)
    assert target.prices.cost(found.attacked.work) > target.prices.cost(found.clean.work)


def nothing(inputs: Tensor) -> Candidates:
    """Return what a search that finds nothing returns."""
    none = torch.zeros(len(inputs), dtype=torch.int64)
    return Candidates(inputs, forwards=none, backwards=none)


@pytest.mark.parametrize("attack", ATTACKS, ids=IDS)
def test_a_batch_equals_its_samples(attack: Attack) -> None:
    target, images = bright_pixels(), torch.cat([ramp(), ramp().flip(-1), (ramp() * 255 - 9) / 255])
    whole = attack(target, images, references=REFERENCE.repeat(3), seed=3)
    for row in range(3):
        alone = attack(target, images[row : row + 1], references=REFERENCE, seed=3)
        assert alone.inputs.equal(whole.inputs[row : row + 1])
        assert alone.candidates.forwards.equal(whole.candidates.forwards[row : row + 1])


def test_uniform_inputs_take_the_gray_that_costs_most_and_know_no_ball() -> None:
    target, image = bright_pixels(), ramp()
    result = UniformInputs()(target, image, references=REFERENCE)
    assert result.attacked.work.counts.equal(target.static_work().counts)  # 0.6 is above one half, noise and all
    assert result.inputs.std() < 4 / 255
    assert result.candidates.forwards.tolist() == [11]
    free = UniformInputs(level=0.2)(target, image, references=REFERENCE)
    assert free.candidates.forwards.tolist() == [0]
    assert free.attacked.work.counts.equal(free.clean.work.counts)  # cheaper, so the clean image is kept
    with pytest.raises(UsageError, match="expected a level from 0 to 1, got 2"):
        UniformInputs(level=2)


def test_l_bfgs_finds_the_minimum_of_a_quadratic_where_gradient_steps_would_zigzag() -> None:
    scales, least = torch.tensor([[1.0, 100.0]]), torch.tensor([[0.3, -0.2]])
    optimizer, delta, state = LBFGS(0.5), torch.zeros(1, 2), dict[str, Tensor]()
    for step in range(12):
        gradient = scales * (delta - least)
        delta = optimizer.step(BALLS["Linf"], delta, gradient, torch.zeros(1), step, state, lambda moved: moved)
    assert torch.allclose(delta, least, atol=1e-4)
    assert two_loops(least, torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)).equal(least)


def test_options_are_typed_as_users_write_them() -> None:
    assert load_attack("sponge-vision:form=pgd", eps="8/255").name == "sponge-vision:form=pgd"
    with pytest.raises(UsageError, match="lbfgs"):
        load_attack("sponge-vision:form=adam")
    with pytest.raises(UsageError, match="expected a pool of 4 images or more"):
        SpongeImages(pool=2)


@pytest.mark.parametrize("surrogate", ["atan", "fast-sigmoid", "box"])
def test_spikeattack_makes_a_neuron_fire_as_often_as_the_budget_allows(surrogate: str) -> None:
    target, pixel = one_neuron(), torch.full((1, 1, 1, 1), 150 / 255)
    attack = load_attack(f"spikeattack:surrogate={surrogate}", eps=EPS, steps=20)
    result = attack(target, pixel, references=REFERENCE)
    assert target.spikes(result.clean.work).item() == (8 * 150) // 255
    assert target.spikes(result.attacked.work).item() == (8 * 175) // 255
