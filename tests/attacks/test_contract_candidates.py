"""What every attack owes on detectors and trackers, in the same table as elsewhere: target x norm x attack."""

from __future__ import annotations

import pickle
from functools import cache

import pytest
import torch
from candidate_cases import attack_rows, build, watch
from candidate_targets import CANDIDATE_TARGETS, inputs_of, same
from contract_rows import rows_of
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import ATTACKS
from torpor.core.space import VideoSpace
from torpor.core.units import Unit
from torpor.targets.candidates import CandidateTarget

TABLE = rows_of(CANDIDATE_TARGETS)
ALL = slice(0, 4)
RANDOM = ("snal", "control-noise", "control-shuffled", "control-best-noise")
NETWORKS = ("detector", "video")

table = pytest.mark.parametrize(("target_name", "norm", "name"), TABLE)


@cache
def case(target_name: str, norm: str, name: str) -> tuple[CandidateTarget, bytes, Attack, Tensor, AttackResult]:
    """Attack four inputs; the bytes are all that the target was before."""
    target = CANDIDATE_TARGETS[target_name]()
    before, inputs = pickle.dumps(vars(target)), inputs_of(target)
    attack = build(name, norm, target)
    return target, before, attack, inputs, attack_rows(attack, target, inputs, ALL)


def sizes(target: CandidateTarget, clean: Tensor, attacked: Tensor, norm: str) -> Tensor:
    """Return how far each input is from the clean one, as integers; of a video, its farthest frame."""
    stored = [target.space.to_bytes(batch).to(torch.float64) for batch in (clean, attacked)]
    change = (stored[1] - stored[0]) / 255
    frames = change.flatten(2) if isinstance(target.space, VideoSpace) else change.flatten(1).unsqueeze(1)
    each = {"Linf": frames.abs().amax(2), "L2": frames.square().sum(2).sqrt(), "L1": frames.abs().sum(2)}[norm]
    return each.amax(1)


@table
def test_results_are_pictures_within_budget(target_name: str, norm: str, name: str) -> None:
    target, _, attack, inputs, result = case(target_name, norm, name)
    stored = target.space.from_bytes(target.space.to_bytes(result.inputs))
    assert stored.equal(result.inputs)
    assert stored.shape == inputs.shape
    assert target.run(stored).work.counts.equal(result.attacked.work.counts)
    size = sizes(target, inputs, result.inputs, norm)
    assert (size <= attack.eps * (1 + 1e-5)).all()
    changed = size > 0
    assert torch.allclose(size[changed], (result.moved[changed] * attack.eps).to(size), atol=1e-6)


@table
def test_work_is_that_of_the_hard_target_and_never_less_than_clean(target_name: str, norm: str, name: str) -> None:
    target, _, _, inputs, result = case(target_name, norm, name)
    for row in range(4):
        here = slice(row, row + 1)
        for sent, outcome in ((result.inputs, result.attacked), (inputs, result.clean)):
            alone = target.run(sent[here])
            assert same(alone.outputs[0], outcome.outputs[row])
            assert alone.work.counts.equal(outcome.work.counts[here])
    clean, attacked = target.prices.cost(result.clean.work), target.prices.cost(result.attacked.work)
    assert (attacked >= clean).all()
    assert (attacked <= target.prices.cost(result.static)).all()
    kept = attacked == clean
    assert result.inputs[kept].equal(inputs[kept])


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if not ATTACKS[row[2]].is_control])
def test_more_candidates_pass(target_name: str, norm: str, name: str) -> None:
    result = case(target_name, norm, name)[-1]
    attacked, clean = (one.work.counts[:, 1] for one in (result.attacked, result.clean))
    assert (attacked > clean).sum() >= 2
    found = result.candidates
    assert found.zero_gradient is None or not found.zero_gradient.any()


@table
def test_the_target_is_left_as_it_was(target_name: str, norm: str, name: str) -> None:
    target, before, attack, inputs, result = case(target_name, norm, name)
    state = torch.get_rng_state()
    again = attack_rows(attack, target, inputs, ALL)
    assert pickle.dumps(vars(target)) == before
    assert torch.get_rng_state().equal(state)
    assert again.inputs.equal(result.inputs)
    assert again.candidates.inputs.equal(result.candidates.inputs)
    assert again.candidates.forwards.equal(result.candidates.forwards)
    assert again.candidates.backwards.equal(result.candidates.backwards)


@table
def test_a_batch_equals_its_samples(target_name: str, norm: str, name: str) -> None:
    """Batched convolutions round differently: a pixel may end one level off."""
    target, _, attack, inputs, whole = case(target_name, norm, name)
    singles = [attack_rows(attack, target, inputs, slice(row, row + 1)) for row in range(4)]
    for parts in (singles, [attack_rows(attack, target, inputs, slice(0, 3)), singles[3]]):
        together = torch.cat([part.candidates.inputs for part in parts])
        assert torch.cat([part.candidates.forwards for part in parts]).equal(whole.candidates.forwards)
        assert torch.cat([part.candidates.backwards for part in parts]).equal(whole.candidates.backwards)
        if target_name in NETWORKS:
            assert (target.space.snap(together) == target.space.snap(whole.candidates.inputs)).double().mean() > 0.9
        else:
            assert together.equal(whole.candidates.inputs)
            assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)


@table
def test_passes_are_counted_as_they_happen(
    target_name: str, norm: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, inputs = case(target_name, norm, name)[2:4]
    frames = inputs.shape[1] if inputs.ndim == 5 else 1
    for rows in (slice(1, 2), slice(1, 4)):
        with monkeypatch.context() as patches:
            target = CANDIDATE_TARGETS[target_name]()
            seen = watch(target, patches)
            result = attack_rows(attack, target, inputs, rows)
        verification = 2 * len(result.inputs) * frames
        geometry = int(name == "slowtrack")  # where boxes are, asked once
        assert seen.forwards - verification - geometry == frames * result.candidates.forwards.sum()
        assert seen.backwards == frames * result.candidates.backwards.sum()


@table
def test_another_seed_draws_other_randomness(target_name: str, norm: str, name: str) -> None:
    target, _, _, inputs, first = case(target_name, norm, name)
    other = attack_rows(build(name, norm, target, seed=4), target, inputs, ALL, seed=4)
    assert first.candidates.inputs.equal(other.candidates.inputs) is (name not in RANDOM)


@table
def test_failures_count_as_clean(target_name: str, norm: str, name: str) -> None:
    """Where nothing but the network has a price, nothing costs more than anything else."""
    target = CANDIDATE_TARGETS[target_name]()
    for part in {id(one): one for one in (target, target.detector)}.values():
        part.units = tuple(Unit(unit.name, int(unit.name == "backbone")) for unit in part.units)
    attack, inputs = case(target_name, norm, name)[2:4]
    result = attack_rows(attack, target, inputs, ALL)
    assert result.inputs.equal(inputs)
    assert result.attacked.work.counts.equal(result.clean.work.counts)
