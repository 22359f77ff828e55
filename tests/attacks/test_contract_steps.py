"""What every attack owes on decoders, in the same table as on early exits: target x norm x attack."""

from __future__ import annotations

import pickle
from functools import cache

import pytest
import torch
from contract_rows import rows_of
from edit_distance import edits
from step_cases import attack_rows, build, watch
from step_targets import STEP_TARGETS, inputs_of
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import ATTACKS
from torpor.core.batches import Samples, join
from torpor.core.space import DenseSpace
from torpor.core.text import TextSpace
from torpor.core.units import Unit
from torpor.targets.steps import STEP, StepTarget

TABLE = rows_of(STEP_TARGETS)
ALL = slice(0, 8)
DETERMINISTIC = (
    "nicg-slowdown",
    "nmtsloth-char",
    "nmtsloth-token",
    "nmtsloth-structure",
    "llmeffichecker-char",
    "control-flat",
    "control-keep-writing",
)

table = pytest.mark.parametrize(("target_name", "norm", "name"), TABLE)


@cache
def case(target_name: str, norm: str, name: str) -> tuple[StepTarget, bytes, Attack, Samples, AttackResult]:
    """Attack eight inputs; the bytes are all that the target was before."""
    target = STEP_TARGETS[target_name]()
    before, inputs = pickle.dumps(vars(target)), inputs_of(target)
    attack = build(name, norm, target)
    return target, before, attack, inputs, attack_rows(attack, target, inputs, ALL)


def same(one: Samples, other: Samples) -> bool:
    return one.equal(other) if isinstance(one, Tensor) else one == other


def sizes(target: StepTarget, clean: Samples, attacked: Samples, norm: str) -> Tensor:
    """Return how far each input is from the clean one: in the norm of stored integers, or in edits."""
    if isinstance(target.space, TextSpace):
        pairs = zip(clean, attacked, strict=True)
        return torch.tensor([float(edits(*pair, norm, target.space.codec)) for pair in pairs])
    assert isinstance(target.space, DenseSpace)
    stored = [target.space.to_bytes(batch).to(torch.float64) for batch in (clean, attacked)]
    change = (stored[1] - stored[0]).flatten(1) / target.space.levels
    return {"Linf": change.abs().amax(1), "L2": change.square().sum(1).sqrt(), "L1": change.abs().sum(1)}[norm]


@table
def test_results_are_sendable_inputs_within_budget(target_name: str, norm: str, name: str) -> None:
    target, _, attack, inputs, result = case(target_name, norm, name)
    stored = target.space.from_bytes(target.space.to_bytes(result.inputs))
    assert same(stored, result.inputs)
    assert target.run(stored).work.counts.equal(result.attacked.work.counts)
    size = sizes(target, inputs, result.inputs, norm)
    assert (size <= attack.eps * (1 + 1e-5)).all()
    changed = size > 0
    assert torch.allclose(size[changed], (result.moved[changed] * attack.eps).to(size), atol=1e-6)
    if isinstance(target.space, DenseSpace):
        assert result.inputs.shape == inputs.shape
        assert result.inputs.min() >= target.space.low
        assert result.inputs.max() <= target.space.high
        return
    assert isinstance(target.space, TextSpace)
    codec = target.space.codec
    for row in changed.nonzero().flatten().tolist():
        ids = codec.encode(result.inputs[row])
        assert 0 < len(ids) <= target.space.max_tokens
        assert codec.decode(ids) == result.inputs[row]
        assert not codec.special & set(ids)


@table
def test_work_is_that_of_the_hard_target_and_never_less_than_clean(target_name: str, norm: str, name: str) -> None:
    target, _, _, inputs, result = case(target_name, norm, name)
    assert same(result.clean_inputs, inputs)
    for row in range(8):
        here = slice(row, row + 1)
        for sent, outcome in ((result.inputs, result.attacked), (inputs, result.clean)):
            alone = target.run(sent[here])
            assert alone.outputs == outcome.outputs[here]
            assert alone.work.counts.equal(outcome.work.counts[here])
    clean, attacked = target.prices.cost(result.clean.work), target.prices.cost(result.attacked.work)
    assert (attacked >= clean).all()
    assert (attacked <= target.prices.cost(result.static)).all()
    for row in (attacked == clean).nonzero().flatten().tolist():
        here = slice(row, row + 1)
        assert same(result.inputs[here], inputs[here])
        assert result.attacked.outputs[here] == result.clean.outputs[here]


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if not ATTACKS[row[2]].is_control])
def test_some_outputs_become_longer(target_name: str, norm: str, name: str) -> None:
    target, _, _, _, result = case(target_name, norm, name)
    assert (target.iterations(result.attacked.work) > target.iterations(result.clean.work)).any()


@table
def test_the_target_is_left_as_it_was(target_name: str, norm: str, name: str) -> None:
    target, before, attack, inputs, result = case(target_name, norm, name)
    state = torch.get_rng_state()
    again = attack_rows(attack, target, inputs, ALL)
    assert pickle.dumps(vars(target)) == before
    assert torch.get_rng_state().equal(state)
    assert same(again.inputs, result.inputs)
    assert same(again.candidates.inputs, result.candidates.inputs)
    assert again.candidates.forwards.equal(result.candidates.forwards)
    assert again.candidates.backwards.equal(result.candidates.backwards)


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[0] != "captioner"])
def test_a_batch_equals_its_samples_on_toys(target_name: str, norm: str, name: str) -> None:
    target, _, attack, inputs, whole = case(target_name, norm, name)
    singles = [attack_rows(attack, target, inputs, slice(row, row + 1)) for row in range(8)]
    threes = [attack_rows(attack, target, inputs, slice(row, row + 3)) for row in (0, 3)]
    for parts, count in ((singles, 8), (threes, 6)):
        assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts[:count])
        assert same(join([part.inputs for part in parts]), whole.inputs[:count])
        assert same(join([part.candidates.inputs for part in parts]), whole.candidates.inputs[:count])
        assert torch.cat([part.candidates.forwards for part in parts]).equal(whole.candidates.forwards[:count])
        assert torch.cat([part.candidates.backwards for part in parts]).equal(whole.candidates.backwards[:count])


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[0] == "captioner"])
def test_a_batch_equals_its_samples_on_a_network(target_name: str, norm: str, name: str) -> None:
    """Batched convolutions round differently: a pixel may end one level off, but no sample's work changes."""
    target, _, attack, inputs, whole = case(target_name, norm, name)
    parts = [attack_rows(attack, target, inputs, rows) for rows in (slice(0, 1), slice(1, 4), slice(4, 8))]
    assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)
    assert (join([part.inputs for part in parts]) == whole.inputs).to(torch.float64).mean() > 0.9


@table
def test_passes_are_counted_as_they_happen(
    target_name: str, norm: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, inputs = case(target_name, norm, name)[2:4]
    for rows in (slice(1, 2), slice(4, 5), slice(3, 6)):
        with monkeypatch.context() as patches:
            target = STEP_TARGETS[target_name]()
            passes = watch(target, patches)
            result = attack_rows(attack, target, inputs, rows)
        count = len(result.inputs)
        verification = 2 * count
        assert sum(passes.forwards) - verification == result.candidates.forwards.sum()
        unneeded = sum(passes.backwards) - result.candidates.backwards.sum()
        assert unneeded == 0 if count == 1 else 0 <= unneeded <= count  # a row may leave behind its neighbors' pass


@table
def test_another_seed_draws_other_randomness(target_name: str, norm: str, name: str) -> None:
    target, _, _, inputs, first = case(target_name, norm, name)
    other = attack_rows(build(name, norm, target, seed=4), target, inputs, ALL, seed=4)
    assert same(first.candidates.inputs, other.candidates.inputs) is (name in DETERMINISTIC)


@table
def test_failures_count_as_clean(target_name: str, norm: str, name: str) -> None:
    """One step, and nothing else has a price: nothing costs more than anything else."""
    target = STEP_TARGETS[target_name]().with_cap(1)
    target.units = tuple(Unit(unit.name, int(unit.name == STEP)) for unit in target.units)
    attack, inputs = case(target_name, norm, name)[2:4]
    result = attack_rows(attack, target, inputs, ALL)
    assert same(result.inputs, inputs)
    assert result.attacked.outputs == result.clean.outputs
    assert result.attacked.work.counts.equal(result.clean.work.counts)
