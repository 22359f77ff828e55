"""--max-seconds on targets whose searches can be ended: every sample has its share, and nothing found is lost."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
import torch
from chat_models import chat, turn, write_prompts
from generation_models import examples, loaded, sentences
from typing_extensions import override

from torpor.attacks.controls.text import TextControl
from torpor.attacks.deadline import TimeLimit
from torpor.attacks.registry import ATTACKS, load_attack
from torpor.attacks.search.incumbent import Candidates
from torpor.audits.integrity import remarks
from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.request import default_batch_size, request
from torpor.audits.run.executors import load_executor
from torpor.audits.run.fronts import Front
from torpor.audits.run.job import Job
from torpor.audits.run.limits import Limits, Spent
from torpor.audits.run.slices import Slices, share, shares
from torpor.audits.run.timing import Spare
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.data.given import GivenInputs
from torpor.defenses.registry import load_defense
from torpor.targets.decoder.generation.texts import TextGenerationTarget
from torpor.targets.early_exit.toys import needle


class Ticks(Stopwatch):
    """A stopwatch that goes by steps of the decoder instead of by the clock."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.most = steps

    def check(self) -> None:
        if self.until == float("inf"):
            return
        self.most -= 1
        if self.most < 0:
            raise OutOfTime


def llama() -> TextGenerationTarget:
    found = loaded("llama")
    assert isinstance(found, TextGenerationTarget)
    return found


@pytest.mark.parametrize("steps", [0, 1, 20])
def test_a_search_that_is_ended_hands_over_the_best_that_it_has_run(steps: int) -> None:
    target, text = llama(), sentences(1)
    attack = load_attack("nmtsloth-char", norm="chars", eps=2, steps=None)
    watch = Ticks(steps)
    result = attack(target, text, deadline=TimeLimit(time.time(), watch))
    assert result.candidates.cut_short
    assert result.candidates.forwards.item() == watch.forwards
    assert target.run(result.inputs).work.counts.equal(result.attacked.work.counts)
    assert (result.attacked.work.counts >= result.clean.work.counts).all()
    assert Spent.on(target, text, result.candidates).cut_short == 1
    if steps == 20:  # in the middle of the first round: what is still running then outlasts the clean input
        assert target.iterations(result.clean.work).item() < watch.steps == 19
        assert target.iterations(result.attacked.work).item() >= watch.steps
        ((*_, last),) = result.curves or ()
        assert last.cost == target.prices.cost(result.attacked.work).item()


@dataclass(frozen=True, kw_only=True)
class Probing(TextControl):
    """Run a text that may not be sent and one that may, and have no more time."""

    id: ClassVar[str] = "probing"
    far: str
    near: str

    @override
    def search(self, target: Any, inputs: Samples, labels: Samples, seed: int) -> Candidates:
        target.score((self.far, self.near))
        raise OutOfTime


def test_what_may_not_be_sent_does_not_hide_what_may() -> None:
    target = llama()
    (clean,) = sentences(1)
    edited = [f"{clean}{letter}" for letter in "abcdefghijklmnop"]
    steps = dict(zip((clean, *edited), target.score((clean, *edited)).tolist(), strict=True))
    near = max(edited, key=lambda text: steps[text])
    assert steps[near] > steps[clean]
    far = next(text for text in sentences(16)[1:] if target.score((text,)).item() > steps[near])
    watch = Stopwatch()
    found = Probing(eps=1, far=far, near=near)(target, (clean,), deadline=TimeLimit(time.time() + 1e6, watch))
    assert found.inputs == (near,)
    assert watch.steps == steps[near]
    assert found.candidates.forwards.item() == 2


@pytest.mark.parametrize("steps", [0, 1200])
def test_a_search_on_a_sound_that_is_ended_hands_over_what_it_has_run(steps: int) -> None:
    target, sound = loaded("whisper"), examples("whisper", 12)[4:5]  # of 5 steps
    watch = Ticks(steps)
    result = load_attack("standard-decoder", eps=0.01)(target, sound, deadline=TimeLimit(time.time(), watch))
    found = result.candidates
    assert found.cut_short
    assert (found.forwards.item(), found.backwards.item()) == (watch.forwards, watch.backwards)
    assert isinstance(found.inputs, torch.Tensor)
    assert found.inputs.shape == sound.shape
    assert (steps > 0) is (found.backwards.item() > 0)
    assert (result.attacked.work.counts >= result.clean.work.counts).all()
    free = load_attack("slothspeech", eps=0.01, steps=2)
    limited = free(target, sound, deadline=TimeLimit(time.time() + 1e6, Stopwatch()))
    assert not limited.candidates.cut_short
    assert limited.inputs.equal(free(target, sound).inputs)


def test_a_search_with_enough_time_is_the_same_as_without_a_deadline() -> None:
    target, text = chat(), (turn("system"),)
    attack = load_attack("nmtsloth-char", norm="chars", eps=1, steps=None)
    free, limited = attack(target, text), attack(target, text, deadline=TimeLimit(time.time() + 1e6, Stopwatch()))
    assert not limited.candidates.cut_short
    assert limited.inputs == free.inputs
    assert limited.attacked.work.counts.equal(free.attacked.work.counts)
    assert limited.candidates.forwards.equal(free.candidates.forwards)


def test_what_was_run_for_a_sample_is_not_run_again() -> None:
    target, watch, calls = llama(), Stopwatch(), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = target.model.register_forward_pre_hook(count)
    first = target.until(watch).run(sentences(2))
    before = calls
    again = target.until(watch).run(sentences(2))
    handle.remove()
    assert calls == before > 0
    assert again.outputs == first.outputs == target.run(sentences(2)).outputs
    assert again.work.counts.equal(first.work.counts)
    assert target.with_cap(2).until(watch).run(sentences(2)).outputs != first.outputs  # another cap is another run


def test_defended_targets_are_ended_too() -> None:
    watch = Stopwatch()
    defended = load_defense("normalize").defend(llama()).until(watch)  # type: ignore[attr-defined]
    watch.begin(0.0)
    with pytest.raises(OutOfTime):
        defended.run(sentences(1))


def test_the_clock_is_asked_only_as_long_as_there_is_time() -> None:
    free, late = (Spare.of(needle(), GivenInputs(("never read",), "texts"), deadline) for deadline in (None, 0.0))
    few, many = (pa.chunked_array([[[1, steps]]]) for steps in (10, 1000))
    assert free.allows(many)
    assert not late.allows(few)
    soon = Spare(time.time() + 60, one=0.1, work=(1, 10))
    assert soon.allows(few)
    assert not soon.allows(many)
    assert soon.allows(pa.chunked_array([[[1, 10, 99_999]]]))  # the last is a unit of a defense
    quick_first = Spare(time.time() + 20, one=0.1, work=(1, 1))  # of samples that take ten times as long as the first
    assert not quick_first.allows(few)


def test_time_is_shared_by_what_the_passes_of_a_search_take(monkeypatch: pytest.MonkeyPatch) -> None:
    sound, text = loaded("whisper"), llama()
    budget = Budget("Linf", 0.01)
    attack = load_attack("slothspeech", eps=0.01)
    front = Front(sound, [(budget, [attack])])
    best_noise = ATTACKS.find("control-best-noise")
    assert [share(one, sound) for one in (attack, best_noise, ATTACKS.find("control-noise"))] == [3, 1, 0]
    assert shares([front]) == 4
    assert shares([front, Front(sound, front.attacks, "defense")]) == 7
    edits = load_attack("nmtsloth-char", norm="chars", eps=1, steps=None)
    assert shares([Front(text, [(edits.budget, [edits])])]) == 2  # and best of as many edits
    monkeypatch.setattr(time, "time", lambda: 100.0)
    slices = Slices(140.0, 4)
    searches = (attack, ATTACKS.find("control-noise"), best_noise, best_noise)
    assert [slices.next(each, sound).until for each in searches] == [130.0, 140.0, 140.0, 140.0]


@pytest.mark.parametrize(
    ("todo", "workers", "shares"),
    [
        ((0, 1, 2, 3), 1, [100, 100, 100, 100]),
        (tuple(range(8)), 2, [100] * 8),
        ((0, 1, 2), 2, [200, 200, 200]),
        ((0, 1), 2, [400, 400]),
        ((0,), 2, [400]),
        ((2, 5), 1, [200, 200]),  # a resumed audit
        ((1, 6, 7, 9), 2, [200] * 4),
    ],
)
def test_batches_that_are_attacked_at_once_have_the_time_together(
    todo: tuple[int, ...], workers: int, shares: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = load_executor(f"processes:{workers}")
    job = Job(Plan("needle", ("standard",)), tmp_path, deadline=400.0, todo=todo, at_once=executor.at_once)
    now, given = 0.0, list[float]()
    monkeypatch.setattr(time, "time", lambda: now)
    for first in range(0, len(todo), workers):
        together = todo[first : first + workers]
        (end,) = {job.until(number) for number in together}
        assert end is not None
        given += [end - now] * len(together)
        now = end
    assert given == shares
    assert now == 400.0


def audited(out: Path, prompts: Path, seconds: float | None) -> dict[str, Any]:
    asked = request(chat(), "nmtsloth-char", inputs=prompts, limit=3, eps=1, timed=False)
    asked.run(out, limits=Limits(seconds=seconds), threads=1)
    found: dict[str, Any] = json.loads((out / "audit.json").read_text())
    return found


def test_few_samples_of_a_slow_target_are_spread_over_two_batches() -> None:
    slow = needle()
    slow.samples = 3
    assert [default_batch_size(slow, limit) for limit in (3, 2)] == [2, 1]
    assert default_batch_size(needle(), 3) == 128


def test_every_sample_has_its_share_and_more_seconds_search_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count(time.time(), 0.01)  # each question takes ten milliseconds, however fast the machine is
    monkeypatch.setattr(time, "time", lambda: next(asked))
    prompts = write_prompts(tmp_path / "prompts.jsonl")
    assert default_batch_size(chat()) == 1
    assert default_batch_size(needle()) == 128
    found = audited(tmp_path / "run", prompts, 1.5)
    assert found["samples"]["read"] > 0
    assert found["samples"]["cut_short"]["seconds"] == 1.5
    cut = [row for row in found["summary"] if row["kind"] != "clean"]
    assert all("cut-off" in row["flags"] for row in cut)
    said = remarks(read_audit(tmp_path / "run"))
    assert any("were ended at their sample's share of --max-seconds 1.5" in line for line in said)
    longer = audited(tmp_path / "run", prompts, 3600)
    assert longer["samples"]["read"] == 3
    assert "cut_short" not in longer["samples"]
    assert not any("cut-off" in row["flags"] for row in longer["summary"])
    free = audited(tmp_path / "free", prompts, None)
    assert [row["cost_mean"] for row in longer["summary"]] == [row["cost_mean"] for row in free["summary"]]
