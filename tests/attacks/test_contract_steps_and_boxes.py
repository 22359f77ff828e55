"""What every attack owes on decoders, detectors and trackers, in the same table as on early exits."""

from __future__ import annotations

import pickle
from functools import cache
from itertools import pairwise

import pytest
import torch
from candidate_targets import CANDIDATE_TARGETS, same
from contract_cases import BOTH, EPS, STEPS, Kind, attack_rows, build, inputs_of, watch
from contract_rows import rows_of, with_one_norm
from edit_distance import edits
from patched import covered
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import ATTACKS
from torpor.attacks.search.balls import spendable
from torpor.core.batches import Samples, join
from torpor.core.budget import COUNTS
from torpor.core.space import DenseSpace, VideoSpace
from torpor.core.text import TextSpace
from torpor.core.units import Unit
from torpor.targets.decoder.contract import STEP, StepTarget

pytestmark = pytest.mark.slow

ALL = slice(None)
NETWORKS = ("captioner", "detector", "video")
TABLE = with_one_norm(rows_of(BOTH), NETWORKS)
DETERMINISTIC = (
    "nicg-slowdown",
    "nmtsloth-char",
    "nmtsloth-token",
    "nmtsloth-structure",
    "llmeffichecker-char",
    "llmeffichecker-structure",  # where fewer than 50 words are known, as here, all are tried
    "dgslow",
    "ttslow",
    "overload",
    "phantom-sponges",
    "slowtrack",
    "slowtrack-unbounded",
    "daedalus",
    "control-flat",
    "repetition",
    "control-keep-writing",
    "control-long-requests",
)

NAMES = ("target_name", "norm", "name")
table = pytest.mark.parametrize(NAMES, TABLE)
ATTACKED = [row for row in TABLE if not ATTACKS.find(row[2]).is_control]


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the table fast, and let each member have its turn."""
    monkeypatch.setattr("torpor.attacks.text.standard.QUERIES", 40)
    monkeypatch.setattr("torpor.attacks.text.standard.PATIENCE", dict.fromkeys(COUNTS, 6))
    monkeypatch.setattr("torpor.attacks.text.evolution.population.TRIES", 1)  # toys have few texts, soon all known
    monkeypatch.setattr("torpor.attacks.decoder.standard.PASSES", 120)


@cache
def case(target_name: str, norm: str, name: str) -> tuple[Kind, bytes, Attack, Samples, AttackResult]:
    """Attack all inputs; the bytes are all that the target was before."""
    target = BOTH[target_name]()
    before, inputs = pickle.dumps(vars(target)), inputs_of(target)
    attack = build(name, norm, target)
    return target, before, attack, inputs, attack_rows(attack, target, inputs, ALL)


def sizes(target: Kind, clean: Samples, attacked: Samples, norm: str) -> Tensor:
    """Return how far each input, or the farthest frame of a video, is from the clean one: as stored, or in edits."""
    if isinstance(target.space, TextSpace):
        pairs = zip(clean, attacked, strict=True)
        return torch.tensor([float(edits(*pair, norm, target.space.codec)) for pair in pairs])
    assert isinstance(target.space, DenseSpace)
    stored = [target.space.to_bytes(batch).to(torch.float64) for batch in (clean, attacked)]
    change = (stored[1] - stored[0]) / target.space.levels
    if norm == "patch":
        images = change.flatten(0, -4)
        moved = (images != 0).any(1).to(torch.float64).mean((1, 2))
        inside = covered(images) <= EPS[norm]
        return torch.where(inside, moved, torch.inf).view(len(change), -1).amax(1)
    frames = change.flatten(2) if isinstance(target.space, VideoSpace) else change.flatten(1).unsqueeze(1)
    each = {"Linf": frames.abs().amax(2), "L2": frames.square().sum(2).sqrt(), "L1": frames.abs().sum(2)}[norm]
    return each.amax(1)


@table
def test_results_are_sendable_inputs_within_budget(target_name: str, norm: str, name: str) -> None:
    target, _, attack, inputs, result = case(target_name, norm, name)
    stored = target.space.from_bytes(target.space.to_bytes(result.inputs))
    assert same(stored, result.inputs)
    assert target.run(stored).work.counts.equal(result.attacked.work.counts)
    size = sizes(target, inputs, result.inputs, norm)
    radius = spendable(attack.budget, target.space)
    assert (size <= radius * (1 + 1e-5)).all()
    changed = size > 0
    assert torch.allclose(size[changed], (result.budget_used[changed] * radius).to(size), atol=1e-6)
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
    for here in (slice(row, row + 1) for row in range(len(inputs))):
        for sent, outcome in ((result.inputs, result.attacked), (inputs, result.clean)):
            alone = target.run(sent[here])
            assert same(alone.outputs, outcome.outputs[here])
            assert alone.work.counts.equal(outcome.work.counts[here])
    clean, attacked = target.prices.cost(result.clean.work), target.prices.cost(result.attacked.work)
    assert (attacked >= clean).all()
    assert (attacked <= target.prices.cost(result.static)).all()
    for row in (attacked == clean).nonzero().flatten().tolist():
        here = slice(row, row + 1)
        assert same(result.inputs[here], inputs[here])
        assert same(result.attacked.outputs[here], result.clean.outputs[here])


@pytest.mark.parametrize(NAMES, [row for row in ATTACKED if row[0] in STEPS])
def test_some_outputs_become_longer(target_name: str, norm: str, name: str) -> None:
    target, *_, result = case(target_name, norm, name)
    assert isinstance(target, StepTarget)
    assert (target.iterations(result.attacked.work) > target.iterations(result.clean.work)).any()


@pytest.mark.parametrize(NAMES, [row for row in ATTACKED if row[0] in CANDIDATE_TARGETS])
def test_more_candidates_pass(target_name: str, norm: str, name: str) -> None:
    result = case(target_name, norm, name)[-1]
    attacked, clean = (one.work.counts[:, 1] for one in (result.attacked, result.clean))
    found = result.candidates
    lifted = 1 if (target_name, name) == ("lamps", "square") else 2  # random squares seldom fall on a dim lamp
    assert (attacked > clean).sum() >= lifted
    lit = (norm, name) == ("patch", "phantom-sponges")  # the gray patch that it starts from lights all its lamps
    assert lit or found.zero_gradient is None or not found.zero_gradient.any()


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


@pytest.mark.parametrize(NAMES, [row for row in TABLE if row[0] not in NETWORKS])
def test_a_batch_equals_its_samples_on_toys(target_name: str, norm: str, name: str) -> None:
    target, _, attack, inputs, whole = case(target_name, norm, name)
    count = len(inputs)
    cuts = sorted({0, 1, min(4, count - 1), count - 1, count})  # the first and the last alone, others together
    parts = [attack_rows(attack, target, inputs, slice(*rows)) for rows in pairwise(cuts)]
    assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)
    assert same(join([part.inputs for part in parts]), whole.inputs)
    assert same(join([part.candidates.inputs for part in parts]), whole.candidates.inputs)
    assert torch.cat([part.candidates.forwards for part in parts]).equal(whole.candidates.forwards)
    assert torch.cat([part.candidates.backwards for part in parts]).equal(whole.candidates.backwards)


@pytest.mark.parametrize(NAMES, [row for row in TABLE if row[0] in NETWORKS])
def test_a_batch_equals_its_samples_on_networks(target_name: str, norm: str, name: str) -> None:
    """Batched convolutions round differently: a pixel may end one level off, but no caption's work changes."""
    target, _, attack, inputs, whole = case(target_name, norm, name)
    assert isinstance(target.space, DenseSpace)
    least = 0.8 if norm == "L2" else 0.9  # unit gradients spread rounding errors over all pixels
    cuts = (0, 1, len(inputs) - 1, len(inputs))
    parts = [attack_rows(attack, target, inputs, slice(*rows)) for rows in pairwise(cuts)]
    together = join([part.candidates.inputs for part in parts])
    assert (target.space.snap(together) == target.space.snap(whole.candidates.inputs)).double().mean() > least
    if isinstance(target, StepTarget):
        assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)
        assert (join([part.inputs for part in parts]) == whole.inputs).double().mean() > least
    else:
        assert torch.cat([part.candidates.forwards for part in parts]).equal(whole.candidates.forwards)
        assert torch.cat([part.candidates.backwards for part in parts]).equal(whole.candidates.backwards)


@table
def test_passes_are_counted_as_they_happen(
    target_name: str, norm: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, inputs = case(target_name, norm, name)[2:4]
    lights = name.startswith("slowtrack") or (name == "standard-detector" and "video" in target_name)
    geometry = int(lights)  # where boxes are, asked once
    for first, last in ((4, 5), (3, 6)) if target_name in STEPS else ((1, 2), (1, 4)):
        with monkeypatch.context() as patches:
            target = BOTH[target_name]()
            if name == "standard-detector":
                patches.setattr(target, "ranked", lambda target=target: target)  # so that it is what is watched
            passes = watch(target, patches)
            result = attack_rows(attack, target, inputs, slice(first, last))
        count = len(result.inputs)
        frames = target.space.shape[0] if isinstance(target.space, VideoSpace) else 1
        verification = 2 * count * frames
        assert sum(passes.forwards) - verification - geometry == frames * result.candidates.forwards.sum()
        unneeded = sum(passes.backwards) - frames * result.candidates.backwards.sum()
        rides_along = target_name in STEPS and count > 1  # a row may leave behind its neighbors' pass
        assert 0 <= unneeded <= count if rides_along else unneeded == 0


@table
def test_another_seed_draws_other_randomness(target_name: str, norm: str, name: str) -> None:
    target, _, _, inputs, first = case(target_name, norm, name)
    if (target_name, norm) == ("peak", "patch"):
        return  # four pixels, of which one choice is the costliest
    if (norm, name) == ("chars", "standard-text"):
        return  # TTSlow, which draws nothing, takes these to their caps
    other = attack_rows(build(name, norm, target, seed=4), target, inputs, ALL, seed=4)
    assert same(first.candidates.inputs, other.candidates.inputs) is (name in DETERMINISTIC)


@table
def test_failures_count_as_clean(target_name: str, norm: str, name: str) -> None:
    """Where only one step, or the network, has a price, nothing costs more than anything else."""
    target = BOTH[target_name]()
    if isinstance(target, StepTarget):
        target = target.with_cap(1)
    parts: list[Kind] = [target] if isinstance(target, StepTarget) else [target, target.detector]
    units = [tuple(Unit(unit.name, int(unit.name in (STEP, "backbone"))) for unit in part.units) for part in parts]
    for part, priced in zip(parts, units, strict=True):
        part.units = priced
    attack, inputs = case(target_name, norm, name)[2:4]
    result = attack_rows(attack, target, inputs, ALL)
    assert same(result.inputs, inputs)
    assert same(result.attacked.outputs, result.clean.outputs)
    assert result.attacked.work.counts.equal(result.clean.work.counts)
