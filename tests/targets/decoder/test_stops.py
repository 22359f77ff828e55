"""Stops: what they decide, and that decoding really ends there, in every kind of decoder."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from step_targets import STEP_TARGETS, inputs_of
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.targets.decoder.contract import StepTarget
from torpor.targets.decoder.stops import EndHazard, Repetition, Stop, Watch, most_repeats
from torpor.targets.decoder.toy_steps import PeakTarget

LANGUAGE = ("gpt2", "marian", "captioner")


def circles(ids: list[int], repeats: int) -> bool:
    """Tell by brute force whether the last tokens are one short cycle that many times in a row."""
    return any(
        len(ids) >= repeats * period and ids[-repeats * period :] == ids[-period:] * repeats for period in range(1, 17)
    )


@given(st.lists(st.integers(0, 2), min_size=1, max_size=24), st.integers(2, 4))
def test_repetition_finds_what_brute_force_finds(ids: list[int], repeats: int) -> None:
    stop = Repetition(repeats)
    margins = [stop.margin(torch.tensor([ids[:end]]), torch.zeros(1, end)) for end in range(1, len(ids) + 1)]
    expected = [circles(ids[:end], repeats) for end in range(1, len(ids) + 1)]
    assert [bool(margin >= 0) for margin in margins] == expected
    assert any(expected) == (most_repeats(ids) >= repeats)


def test_hazard_sums_up() -> None:
    ends = torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    ids = torch.zeros(3, 3, dtype=torch.int64)
    assert (EndHazard(2.0).margin(ids, ends) >= 0).tolist() == [True, False, True]
    assert (EndHazard(2.1).margin(ids, ends) >= 0).tolist() == [False, False, True]
    with pytest.raises(UsageError, match="hazard above 0"):
        EndHazard(0.0)
    with pytest.raises(UsageError, match="2 rounds"):
        Repetition(1)


class Third(Stop):
    """Ends every output after its third step."""

    def margin(self, ids: Tensor, ends: Tensor) -> Tensor:
        assert ids.shape == ends.shape
        assert ((ends >= 0) & (ends <= 1)).all()
        return torch.full((len(ids),), float(ids.shape[1] - 3)) - 0.5 + (ids.shape[1] >= 3)


def replayed(target: StepTarget, inputs: object, stop: Stop) -> list[int]:
    """Return how many steps of its own each output may run, asked after every one."""
    signals = target.signals(inputs)
    lengths = []
    for row in range(len(signals.ids)):
        watch, length = Watch(stop, target.eos), int(signals.mask[row].sum())
        past = [watch(signals.ids[row, t : t + 1], signals.logits[row, t : t + 1]).item() for t in range(length)]
        lengths.append(next((t + 1 for t, margin in enumerate(past) if margin >= 0), length))
    return lengths


@pytest.mark.parametrize("name", STEP_TARGETS)
@pytest.mark.parametrize("stop", [Third(), Repetition(3), EndHazard(0.4)])
def test_outputs_end_where_the_stop_says(name: str, stop: Stop) -> None:
    free = STEP_TARGETS[name]()
    inputs = inputs_of(free)
    stopped = free.with_stop(stop)
    before, after, signals = free.run(inputs), stopped.run(inputs), stopped.signals(inputs)
    steps = stopped.iterations(after.work)
    assert steps.tolist() == replayed(free, inputs, stop)
    assert signals.work.counts.equal(after.work.counts)
    assert signals.mask.sum(1).equal(steps)
    for long, short in zip(before.outputs, after.outputs, strict=True):
        assert short.ids == long.ids[: len(short.ids)]
        assert short.capped == (short.ids[-1] not in free.eos)
    assert stopped.max_work(inputs).counts.equal(free.max_work(inputs).counts)
    assert free.fingerprint() != stopped.fingerprint()
    assert free.stop is None


@pytest.mark.parametrize("kind", LANGUAGE)
@pytest.mark.parametrize("stop", [Third(), Repetition(2), EndHazard(0.3)])
def test_transformers_end_where_the_stop_says(kind: str, stop: Stop) -> None:
    pytest.importorskip("transformers")
    from generation_models import examples, loaded

    free = loaded(kind)
    inputs = examples(kind, 6)
    stopped = free.with_stop(stop)
    before, after, signals = free.run(inputs), stopped.run(inputs), stopped.signals(inputs)
    steps = stopped.iterations(after.work)
    assert steps.tolist() == replayed(free, inputs, stop)
    assert signals.mask.sum(1).equal(steps)
    assert signals.work.counts.equal(after.work.counts)
    for row, (long, short) in enumerate(zip(before.outputs, after.outputs, strict=True)):
        assert short.ids == long.ids[: len(short.ids)]
        assert short.capped == (short.ids[-1] not in free.eos)
        alone = stopped.run(inputs[row : row + 1])
        assert alone.outputs[0] == short
        assert alone.work.counts[0].equal(after.work.counts[row])
    assert (after.work.counts <= before.work.counts).all()
    assert stopped.with_cap(2).run(inputs).work.counts.equal(free.with_cap(2).run(inputs).work.counts)


def test_beams_cannot_be_stopped() -> None:
    pytest.importorskip("transformers")
    from generation_models import changed

    target = changed("marian", num_beams=2)
    assert not target.stoppable
    with pytest.raises(UsageError, match="asks at every step"):
        target.with_stop(Repetition(3))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_a_toy_that_goes_in_circles_ends_as_expected(seed: int, repeats: int) -> None:
    target = PeakTarget(cap=40).with_stop(Repetition(repeats))  # tick tock tack tick tock tack
    inputs = target.space.snap(torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed)))
    free = PeakTarget(cap=40).run(inputs).outputs[0]
    words = len(free.ids) - (not free.capped)
    assert len(target.run(inputs).outputs[0].ids) == (3 * repeats if words >= 3 * repeats else len(free.ids))
