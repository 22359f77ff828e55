"""The standard ensemble for images and sounds that a decoder reads."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor

from torpor.attacks.decoder.mixed_noise import MixedNoise
from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.decoder.objectives import SayAgain, Wander
from torpor.attacks.decoder.slothspeech import SlothSpeech
from torpor.attacks.decoder.standard import PASSES, AutoDecoder, StandardDecoder, affordable
from torpor.core.signals import StepSignals
from torpor.core.space import WaveSpace
from torpor.core.stopwatch import Stopwatch
from torpor.core.work import Work
from torpor.targets.decoder.toy_steps import PeakTarget

END = 0


def signals_of(
    probabilities: list[list[list[float]]], ids: list[list[int]], lengths: list[int], hidden: Tensor | None = None
) -> StepSignals:
    """Return signals with the given token probabilities ``[B, T, V]``; token 0 ends."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    mask = torch.arange(logits.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    work = Work(torch.tensor([[1, length] for length in lengths]))
    return StepSignals(logits, torch.tensor(ids), mask, (END,), work, hidden=hidden)


def inputs_of(target: PeakTarget, count: int = 6) -> Tensor:
    """Return inputs around means on both sides of the center."""
    means = torch.linspace(0.2, 0.8, count).view(-1, *[1] * len(target.space.shape))
    noise = torch.rand(count, *target.space.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    return target.space.snap(means + 0.2 * noise)


TWO_STEPS = [[0.2, 0.5, 0.2, 0.1], [0.6, 0.1, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]


def test_repetition_counts_what_was_said_and_steps_that_ran() -> None:
    said = SayAgain()(signals_of([TWO_STEPS], [[1, END, 2]], [2]), 0, {})
    assert said.item() == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2, rel=1e-12)
    two = SayAgain()(signals_of([TWO_STEPS], [[1, 2, END]], [3]), 0, {})
    assert two.item() == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.5)) / 3, rel=1e-12)


def test_repetition_of_nothing_is_anything_but_the_end() -> None:
    silent = SayAgain()(signals_of([TWO_STEPS[1:2]], [[END]], [1]), 0, {})
    assert silent.item() == pytest.approx(-math.log(0.4), rel=1e-12)


def test_uncertainty_and_hidden_states_have_sizes_of_their_own() -> None:
    """Two orthogonal states have a nuclear norm of 2, whatever their lengths; two equal ones of root 2."""
    end = (-math.log(0.8) - math.log(0.4)) / 2
    entropy = -sum(p * math.log(p) for row in TWO_STEPS[:2] for p in row) / math.log(4) / 2
    alone = Wander()(signals_of([TWO_STEPS], [[1, END, 0]], [2]), 0, {})
    assert alone.item() == pytest.approx(end - entropy, rel=1e-12)
    for states, norm in (([[3.0, 0.0], [0.0, 0.5]], 1.0), ([[3.0, 0.0], [0.5, 0.0]], math.sqrt(2) / 2)):
        hidden = torch.tensor([[*states, [9.0, 9.0]]], dtype=torch.float64)
        found = Wander()(signals_of([TWO_STEPS], [[1, END, 0]], [2], hidden), 0, {})
        assert found.item() == pytest.approx(end - entropy - norm, rel=1e-9)


def test_a_token_that_cannot_be_said_has_no_entropy() -> None:
    loss = Wander()(signals_of([[[0.5, 0.5, 0.0, 0.0]]], [[1]], [1]), 0, {})
    assert loss.item() == pytest.approx(math.log(2) - math.log(2) / math.log(4), rel=1e-12)


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 0.4), ("L1", 1.6)])
def test_the_worst_case_of_the_toy_is_found(norm: str, eps: float) -> None:
    """Means are moved by at most eps, eps / 4 and eps / 16 of 16 values."""
    target = PeakTarget()
    inputs = inputs_of(target)
    result = StandardDecoder(norm=norm, eps=eps)(target, inputs)
    worst = target.worst_steps(inputs, {"Linf": eps, "L2": eps / 4, "L1": eps / 16}[norm])
    steps = target.iterations(result.attacked.work)
    assert (steps <= worst).all()
    assert (steps >= worst - (0 if norm == "Linf" else 1)).all()
    assert (steps > target.iterations(result.clean.work)).sum() >= 5


def test_sounds_too() -> None:
    target = PeakTarget(space=WaveSpace((64,)))
    inputs = inputs_of(target)
    result = StandardDecoder(eps=0.05)(target, inputs)
    assert target.iterations(result.attacked.work).equal(target.worst_steps(inputs, 0.05))


def test_passes_stay_within_the_budget_that_members_share() -> None:
    target = PeakTarget(slope=1.0, peak=10.2)  # no input is at the cap
    found = StandardDecoder(eps=0.01)(target, inputs_of(target)).candidates
    spent = found.forwards + found.backwards
    assert (spent <= PASSES).all()
    assert (spent > 0.95 * PASSES).all()


def test_where_time_is_short_fewer_members_have_one_turn_each() -> None:
    attack = StandardDecoder(eps=0.01)
    whole = attack.members
    assert len(whole) == 12
    assert whole == attack.within(PASSES)
    short = attack.within(80)
    assert [getattr(member, "objective", "noise") for member in short] == ["noise", "lower", "end"]
    assert [type(member) for member in attack.within(80, "wave")] == [MixedNoise, SlothSpeech, AutoDecoder]
    assert sum(isinstance(member, SlothSpeech) for member in attack.within(PASSES, "wave")) == 1
    l1 = StandardDecoder(norm="L1", eps=1.0).within(80, "wave")
    assert not any(isinstance(member, SlothSpeech) for member in l1)
    for passes in (40, 80, 200, PASSES - 1):
        members = attack.within(passes)
        spent = 1 + sum(m.queries + 1 if isinstance(m, MixedNoise) else 2 * m.iterations + 2 for m in members)
        assert 0.8 * passes <= spent <= passes
    assert len(attack.within(PASSES - 1)) == 6
    assert [type(member) for member in attack.within(1)] == [MixedNoise, AutoDecoder]  # at least one step


class Timed(PeakTarget):
    """A target that ends searches, each of whose runs takes a second."""

    def __init__(self, seconds: float) -> None:
        super().__init__(slope=1.0, peak=10.2)  # no input is at the cap
        self.stopwatch = Stopwatch(until=seconds)


def test_there_are_as_many_passes_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(range(1, 100))  # before the first run, after it, and when that is planned
    monkeypatch.setattr(time, "time", lambda: float(next(asked)))
    target = Timed(103.0)
    found = StandardDecoder(eps=0.01).search(target, inputs_of(target), (), 0)
    assert found.cut_short
    spent = found.forwards + found.backwards
    assert (spent <= 100).all()
    assert (spent > 80).all()
    assert affordable(Timed(5000.0), 1.0) == PASSES
    assert affordable(Timed(0.0), 1.0) == 1
    assert affordable(PeakTarget(), 1.0) == PASSES


class Silent(PeakTarget):
    """A target whose signals carry no gradient."""

    def signals(self, inputs: Tensor) -> StepSignals:
        return super().signals(inputs.detach() + 0 * inputs)


def test_without_gradients_random_search_is_what_finds_and_both_are_said() -> None:
    target = Silent()
    inputs = inputs_of(target)
    result = StandardDecoder(eps=0.1)(target, inputs)
    found = result.candidates
    assert found.zero_gradient is not None
    assert found.black_box_won is not None
    assert found.zero_gradient.all()
    assert found.black_box_won.sum() >= 4
    assert (result.attacked.work.counts > result.clean.work.counts)[:, 1].all()
    alive = StandardDecoder(eps=0.1)(PeakTarget(), inputs).candidates
    assert alive.zero_gradient is not None
    assert alive.black_box_won is not None
    assert not alive.zero_gradient.any()
    assert not alive.black_box_won.any()


def test_a_clean_input_at_the_cap_needs_no_search() -> None:
    target = PeakTarget(peak=99.2)
    found = StandardDecoder(eps=0.1)(target, inputs_of(target)).candidates
    assert found.forwards.eq(1).all()
    assert found.backwards.eq(0).all()


def test_random_search_mixes_with_the_best_that_is_known() -> None:
    """From corners that rivals know, few changes lead further; from nothing, it is the noise of the control."""
    target = PeakTarget()
    inputs = inputs_of(target)
    rivals = AutoDecoder(eps=0.1, steps=3).search(target, inputs, None, 0).inputs
    fresh = MixedNoise(eps=0.1, queries=40)(target, inputs)
    near = MixedNoise(eps=0.1, queries=40, rivals=rivals)(target, inputs)
    assert (near.attacked.work.counts >= target.run(rivals).work.counts).all()
    assert (near.attacked.work.counts > target.run(rivals).work.counts)[:, 1].any()
    assert near.attacked.work.counts.sum() > fresh.attacked.work.counts.sum()
    assert fresh.candidates.forwards.eq(40).all()


def test_budgets_are_those_of_the_papers_for_each_kind_of_input() -> None:
    of = StandardDecoder.default_budget
    images: tuple[tuple[int, ...], ...] = ((3, 64, 64), (1, 20, 30))
    sounds: tuple[tuple[int, ...], ...] = ((48000,), (40, 150))
    for shape in images:
        assert of("L2", shape=shape) == NICGSlowDown.default_budget("L2", shape=shape)
    for shape in sounds:
        for norm in ("Linf", "L2"):
            assert of(norm, shape=shape) == SlothSpeech.default_budget(norm, shape=shape)
    assert of("L1", shape=(3, 64, 64)).eps == 8
    assert of(None, "8/255", (3, 64, 64)).eps == 8 / 255
