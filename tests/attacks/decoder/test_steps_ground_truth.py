"""Attacks on decoders against a target whose longest output is known."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.decoder.slothspeech import SlothSpeech
from torpor.attacks.decoder.verbose_images import VerboseImages
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.space import WaveSpace
from torpor.core.work import Work
from torpor.targets.decoder.contract import generated_length
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.early_exit.toys import needle

ATTACKS: dict[str, Attack] = {
    "nicg-linf": NICGSlowDown(eps=0.1, steps=40),
    "nicg-l2": NICGSlowDown(norm="L2", eps=0.4, steps=30),
    "verbose": VerboseImages(eps=0.1, steps=20),
    "sloth-linf": SlothSpeech(eps=0.05, steps=20),
    "sloth-l2": SlothSpeech(norm="L2", eps=0.4, steps=20),
}


def target_of(attack: Attack) -> PeakTarget:
    return PeakTarget(space=WaveSpace((64,))) if "wave" in attack.kinds else PeakTarget()


def inputs_of(target: PeakTarget, count: int = 6) -> Tensor:
    """Return inputs around means on both sides of the center, away from the ends of the range."""
    shape = target.space.shape
    means = torch.linspace(0.2, 0.8, count).view(-1, *[1] * len(shape))
    noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) - 0.5
    return target.space.snap(means + 0.2 * noise)


@cache
def case(name: str) -> tuple[PeakTarget, Tensor, AttackResult]:
    target = target_of(ATTACKS[name])
    inputs = inputs_of(target)
    return target, inputs, ATTACKS[name](target, inputs, seed=3)


def test_the_closed_form_is_what_brute_force_finds() -> None:
    target = PeakTarget()
    flat = target.space.snap(torch.linspace(0, 1, 40).view(40, 1, 1, 1).expand(40, 1, 4, 4).contiguous())
    for eps in (5 / 255, 30 / 255):
        shifts = torch.arange(-int(eps * 255), int(eps * 255) + 1) / 255
        steps = [target.iterations(target.run(target.space.snap(flat + shift)).work) for shift in shifts]
        gap = target.worst_steps(flat, eps) - torch.stack(steps).amax(0)
        assert gap.min() >= 0  # a shift moves all pixels alike, so it may stop short of the center by a part of a level
        assert gap.max() <= 1
        assert (gap == 0).sum() >= 38


@settings(max_examples=8)
@given(st.floats(0, 1), st.floats(0, 0.6), st.floats(1 / 255, 0.4), st.integers(0, 2**20))
def test_no_attack_beats_the_closed_form(mean: float, spread: float, eps: float, seed: int) -> None:
    target = PeakTarget()
    noise = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) - 0.5
    inputs = target.space.snap(mean + spread * noise)
    for attack in (NICGSlowDown(eps=eps, steps=6), VerboseImages(eps=eps, steps=6)):
        result = attack(target, inputs)
        assert (target.iterations(result.attacked.work) <= target.worst_steps(inputs, eps)).all()


@pytest.mark.parametrize(
    ("name", "eps", "short"), [("nicg-linf", 0.1, 1), ("verbose", 0.1, 0), ("sloth-linf", 0.05, 0)]
)
def test_attacks_reach_the_worst_case(name: str, eps: float, short: int) -> None:
    target, inputs, result = case(name)
    steps, worst = target.iterations(result.attacked.work), target.worst_steps(inputs, eps)
    assert (steps >= worst - short).all()
    assert (steps <= worst).all()
    assert (steps > target.iterations(result.clean.work)).sum() >= 5


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_move_values_both_up_and_down(name: str) -> None:
    _, inputs, result = case(name)
    change = (result.inputs - inputs).flatten(1).mean(1)
    assert (change[:2] > 0.01).all()
    assert (change[-2:] < -0.01).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_budgets_hold_in_whole_levels_and_are_spent(name: str) -> None:
    target, inputs, result = case(name)
    levels = target.space.levels
    stored, clean = target.space.to_bytes(result.inputs).to(torch.int64), target.space.to_bytes(inputs).to(torch.int64)
    change = (stored - clean).flatten(1).to(torch.float64)
    attack = ATTACKS[name]
    size = change.abs().amax(1) if attack.norm == "Linf" else change.square().sum(1).sqrt()
    assert (size <= attack.eps * levels * (1 + 1e-5)).all()
    assert (size[:2] >= 0.7 * attack.eps * levels).all()
    assert target.run(target.space.from_bytes(stored)).work.counts.equal(result.attacked.work.counts)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_batch_equals_its_samples(name: str) -> None:
    target, inputs, whole = case(name)
    for rows in (slice(1, 2), slice(3, 6)):
        part = ATTACKS[name](target, inputs[rows], seed=3)
        assert part.inputs.equal(whole.inputs[rows])
        assert part.attacked.work.counts.equal(whole.attacked.work.counts[rows])
        assert part.candidates.inputs.equal(whole.candidates.inputs[rows])
        assert part.candidates.forwards.equal(whole.candidates.forwards[rows])


@pytest.mark.parametrize("name", ATTACKS)
def test_gradients_are_alive_from_the_first_step_on(name: str) -> None:
    _, _, result = case(name)
    assert result.candidates.zero_gradient is not None
    assert not result.candidates.zero_gradient.any()
    assert result.candidates.loss_fell is not None
    assert result.candidates.loss_fell.any() or name.startswith("nicg")  # whose words, half of its loss, stay likely


class Silent(PeakTarget):
    """A target whose signals carry no gradient."""

    def signals(self, inputs: Tensor) -> StepSignals:
        return super().signals(inputs.detach() + 0 * inputs)


def test_dead_gradients_are_flagged() -> None:
    target = Silent()
    inputs = inputs_of(target, 2)
    for attack in (NICGSlowDown(eps=0.1, steps=2), VerboseImages(eps=0.1, steps=2)):
        result = attack(target, inputs)
        assert result.candidates.zero_gradient is not None
        assert result.candidates.zero_gradient.all()
        assert result.candidates.inputs.isfinite().all()


class Counting(PeakTarget):
    """A target that notes how many rows each pass had."""

    rows: list[int]

    def signals(self, inputs: Tensor) -> StepSignals:
        self.rows.append(len(inputs))
        return super().signals(inputs)


@pytest.mark.parametrize("name", ["nicg-linf", "verbose"])
def test_samples_at_the_cap_leave_and_passes_are_counted(name: str) -> None:
    target = Counting(peak=45.2)
    target.rows = []
    inputs = inputs_of(target)
    result = ATTACKS[name](target, inputs)
    forwards, limit = result.candidates.forwards, ATTACKS[name].iterations  # type: ignore[attr-defined]
    reached = target.iterations(result.attacked.work) == target.cap
    assert sum(target.rows) == forwards.sum()
    assert (forwards[~reached] == limit + 1).all()
    assert (forwards[reached] <= limit // 2).all()
    assert 2 <= reached.sum() < len(inputs)
    assert result.candidates.backwards.equal(forwards - 1)


def test_the_costliest_iterate_counts_not_the_one_of_least_loss() -> None:
    """A target whose end token looks the unlikelier, the sooner it comes: only the hard cost is evidence."""

    class Deceptive(PeakTarget):
        def signals(self, inputs: Tensor) -> StepSignals:
            found = super().signals(inputs)
            logits = found.logits * torch.tensor([-1.0, 1, 1, 1])
            return StepSignals(logits, found.ids, found.mask, found.eos, found.work, found.hidden)

    target = Deceptive()
    inputs = inputs_of(target)
    result = NICGSlowDown(eps=0.1, steps=10)(target, inputs)
    found = target.iterations(target.run(result.candidates.inputs).work)
    assert (found >= target.iterations(result.clean.work)).all()


def test_signals_tell_the_work_of_the_run() -> None:
    target = PeakTarget()
    inputs = inputs_of(target, 12)
    outcome, signals = target.run(inputs), target.signals(inputs)
    assert signals.work.counts.equal(outcome.work.counts)
    for row, output in enumerate(outcome.outputs):
        assert tuple(signals.ids[row][signals.mask[row]].tolist()) == output.ids
        assert generated_length(signals.ids[row].tolist(), target.eos, target.cap) == (len(output.ids), output.capped)
    assert isinstance(outcome.work, Work)


def test_length_is_the_number_of_decoder_steps() -> None:
    for ids, length in {
        (5, 6, 2, 0, 0): (3, False),  # the end token counts, padding does not
        (2,): (1, False),
        (2, 2, 2): (1, False),  # padding that is the end token
        (5, 6, 7, 8): (4, True),  # exactly the cap, not one or two more
        (5, 6, 7, 2): (4, False),
        (5, 6, 7, 8, 2): (4, True),  # what a cap cut off was never generated
    }.items():
        assert generated_length(ids, eos=[2], cap=max(4, 5 * (0 in ids))) == length


def test_a_cap_is_part_of_the_target() -> None:
    target = PeakTarget(peak=45.2)
    flat = torch.full((1, 1, 4, 4), 0.5)
    assert target.run(flat).outputs[0].capped
    longer = target.with_cap(80)
    assert longer.iterations(longer.run(flat).work).tolist() == [46]
    assert [one.max_work(flat).counts.tolist() for one in (longer, target)] == [[[1, 80]], [[1, 40]]]


def test_attacks_refuse_what_they_cannot_attack() -> None:
    with pytest.raises(UsageError, match="expected an attack on early exit"):
        NICGSlowDown()(needle(), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="got slothspeech"):
        SlothSpeech()(PeakTarget(), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="expected norm Linf for verbose-images"):
        VerboseImages(norm="L2")
    with pytest.raises(UsageError, match="1 step or more"):
        NICGSlowDown(steps=0)
    with pytest.raises(UsageError, match="cap of 1 or more"):
        PeakTarget(cap=0)
