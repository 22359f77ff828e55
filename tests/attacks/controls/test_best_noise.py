from __future__ import annotations

import pytest
import torch
from candidate_targets import CANDIDATE_TARGETS
from candidate_targets import inputs_of as objects_of
from step_targets import STEP_TARGETS, inputs_of

from torpor.attacks.controls.dense import BestNoise, Shuffled
from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.detector.phantom_sponges import PhantomSponges
from torpor.attacks.registry import matched_controls
from torpor.core.errors import UsageError
from torpor.core.threat import Access
from torpor.targets.early_exit.toys import needle

NORMS = {"Linf": 0.1, "L2": 0.4}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["peak", "captioner", "sound"])
def test_the_best_of_many_draws_is_what_drawing_them_one_by_one_finds(kind: str, norm: str) -> None:
    target, eps = STEP_TARGETS[kind](), NORMS[norm]
    inputs = inputs_of(target)
    few, many = (BestNoise(norm=norm, eps=eps, queries=torch.full((8,), k)) for k in (3, 12))
    once, often = (target.prices.cost(attack(target, inputs, seed=2).attacked.work) for attack in (few, many))
    assert (often >= once).all()
    assert (often > once).any()


def test_draws_are_counted_and_stay_in_the_budget() -> None:
    target = STEP_TARGETS["captioner"]()
    inputs, queries = inputs_of(target), torch.arange(8)
    attack = BestNoise(eps=0.1, queries=queries)
    tried = attack(target, inputs).candidates
    assert tried.forwards.tolist() == list(range(8))
    assert not tried.backwards.any()
    assert torch.equal(tried.inputs[0], inputs[0])
    assert ((tried.inputs - inputs).abs() <= 0.1 + 1e-6).all()
    steps = ((tried.inputs[1:] - inputs[1:]) * 255).abs().amax((1, 2, 3))
    assert steps.round().tolist() == [25] * 7  # the largest number of 8-bit steps within 0.1
    assert attack.is_control
    assert attack.access is Access.DECISION
    assert attack == BestNoise(eps=0.1, queries=torch.ones(8))  # a control is the same whatever it is matched to
    with pytest.raises(UsageError, match="expected queries for 2 samples, got 8"):
        attack(target, inputs[:2])


@pytest.mark.parametrize("kind", CANDIDATE_TARGETS)
def test_luck_may_find_objects_too(kind: str) -> None:
    target = CANDIDATE_TARGETS[kind]()
    inputs = objects_of(target)
    control = BestNoise(eps=0.1, queries=torch.full((4,), 10))
    attacked = control(target, inputs)
    assert (attacked.attacked.work.counts[:, 1] > attacked.clean.work.counts[:, 1]).any()
    assert not BestNoise.applies_to(needle())


def test_what_is_learned_once_for_all_images_is_spent_on_none() -> None:
    target = CANDIDATE_TARGETS["lamps"]()
    inputs = objects_of(target)
    attack = PhantomSponges(eps=0.1, epochs=2).fit(target, objects_of(target, other=True))
    _, best_noise = matched_controls(attack.budget, target, [attack], [attack(target, inputs)])
    assert isinstance(best_noise, BestNoise)
    assert best_noise.queries.tolist() == [1] * 4


def test_luck_is_given_the_queries_of_the_attack() -> None:
    target = STEP_TARGETS["captioner"]()
    inputs = inputs_of(target)
    attack = NICGSlowDown(eps=0.1, steps=4)
    result = attack(target, inputs)
    shuffled, best_noise = matched_controls(attack.budget, target, [attack], [result])
    assert isinstance(shuffled, Shuffled)
    assert isinstance(best_noise, BestNoise)
    assert torch.equal(best_noise.queries, result.candidates.forwards)
    assert best_noise.queries.max() >= 4
