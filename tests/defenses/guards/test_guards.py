"""Guards: what they promise, in closed form where the target's worst case is known, and that they do not touch it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from benchmarks import guards
from benchmarks.guards import CASES, Case, inputs_of, judge
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torpor.attacks.registry import load_attack
from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.defenses.guards.base import Guard
from torpor.defenses.guards.box_caps import BoxCap, TrackCap
from torpor.defenses.guards.deadline import Deadline
from torpor.defenses.guards.hazard import HazardMonitor
from torpor.defenses.guards.loop_stop import LoopStop
from torpor.defenses.guards.step_budget import StepBudget
from torpor.defenses.registry import load_defense
from torpor.defenses.wrapped import Wrapped
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.detector.track_work import SORT, ByteTrack, CountedTracker, Tracking
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle

TOYS = [case for case in CASES if not case.target().name.startswith(("sdn", "captioner"))]
SPEC = [f"{case.guard}-{case.target().name}" for case in TOYS]


@pytest.mark.parametrize("case", TOYS, ids=SPEC)
def test_no_input_exceeds_the_guarded_bound(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "CHUNK", 40)
    found = judge(case, 80)
    assert found.exceeding == 0
    assert found.attacked > 0
    assert found.random > 0
    assert found.bound < 1
    assert found.most <= 1


@pytest.mark.parametrize(("name", "kind"), [
    ("deadline", Deadline), ("deadline:0.25", Deadline), ("deadline:4", Deadline), ("steps", StepBudget),
    ("steps:9", StepBudget), ("loop-stop:9", LoopStop), ("hazard", HazardMonitor), ("boxes:20", BoxCap),
    ("tracks", TrackCap),
])  # fmt: skip
def test_names_say_the_setting(name: str, kind: type[Guard]) -> None:
    guard = load_defense(name)
    assert type(guard) is kind
    assert guard.name == (name if name != "deadline" else "deadline:0.5")
    assert load_defense(guard.name) == guard


@pytest.mark.parametrize("name", [
    "deadline:0", "deadline:1", "deadline:1.5", "deadline:soon", "deadline:nan", "steps:0", "steps:-2", "steps:1.5",
    "boxes:many", "tracks:0", "hazard:x",
])  # fmt: skip
def test_bad_settings_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        load_defense(name)


def test_guards_apply_where_their_caps_are() -> None:
    targets = {"gate": needle(), "step": PeakTarget(), "box": LampTarget(), "track": guards.lamps(ByteTrack())}
    applies = {name: {key for key, target in targets.items() if load_defense(name).applies_to(target)} for name in (
        "deadline", "steps", "loop-stop", "hazard", "boxes", "tracks")}  # fmt: skip
    steps = {"step"}
    assert applies == {
        "deadline": {"gate"}, "steps": steps, "loop-stop": steps, "hazard": steps, "boxes": {"box", "track"},
        "tracks": {"track"},
    }  # fmt: skip
    with pytest.raises(UsageError, match="expected a defense for early exit"):
        StepBudget(3).defend(targets["gate"])


def test_an_unfitted_guard_says_so() -> None:
    for name, target in (("steps", PeakTarget()), ("loop-stop:9", PeakTarget()), ("hazard:9", PeakTarget()),
                         ("boxes", LampTarget()), ("tracks", guards.lamps(SORT()))):  # fmt: skip
        with pytest.raises(UsageError, match="before fit"):
            load_defense(name).defend(target)


@pytest.mark.parametrize(
    ("name", "least", "says"),
    [
        *((name, 1, "a cap of 1") for name in ("steps", "loop-stop", "tokens", "expert-capacity")),
        ("draft-stop", 0, "0 rejected guesses"),
        ("rebalance", 100, "100 % of an even share"),
    ],
)
def test_a_cap_is_set_or_learned(name: str, least: int, says: str) -> None:
    free, fixed = load_defense(name), load_defense(f"{name}:{least}")
    assert isinstance(free, Guard)
    assert isinstance(fixed, Guard)
    assert (free.name, fixed.name) == (name, f"{name}:{least}")
    assert free.unset
    assert "learned" in free.needs
    assert "learned" not in fixed.needs
    with pytest.raises(UsageError, match=rf"expected a fitted guard, got {name} before fit\(\); fit"):
        free.state()
    held = {key: torch.tensor(7) for key in free.needs}
    learned = free.with_state(held)
    assert isinstance(learned, Guard)
    assert not learned.unset
    assert {key: int(value) for key, value in learned.state().items()} == dict.fromkeys(held, 7)
    assert learned.name == name
    with pytest.raises(UsageError, match=f"expected {says} or more after {name}:, got {least - 1}"):
        replace(fixed, most=least - 1)  # type: ignore[call-arg]


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_a_deadline_ends_at_the_smaller_of_depth_and_deadline(seed: int, exits: int) -> None:
    free, guarded = needle(), Deadline(None, exits).defend(needle())
    assert isinstance(guarded, EarlyExitTarget)
    inputs = inputs_of(free, 16, seed)
    before, after = free.run(inputs), guarded.run(inputs)
    depth = free.exits(before.work)
    assert guarded.exits(after.work).equal(depth.clamp_max(exits - 1))
    early = depth < exits
    late = free.signals(inputs).exit_logits[~early, exits - 1]
    assert torch.allclose(after.outputs[early], before.outputs[early], atol=1e-5)  # other batches round otherwise
    assert torch.allclose(after.outputs[~early], late, atol=1e-5)
    assert guarded.signals(inputs).work.counts.equal(after.work.counts)
    assert guarded.static_work().counts.tolist() == [[1] * exits]


def test_the_worst_case_under_a_deadline_is_known() -> None:
    free, guarded = needle(), Deadline(None, 3).defend(needle())
    inputs = inputs_of(free, 24, 3)
    attacked = load_attack("deepsloth", eps=0.35, steps=60)(guarded, inputs)
    worst = free.worst_depth(attacked.clean_inputs, 0.35).clamp_max(3)
    found = attacked.attacked.work.counts.sum(1)
    assert (found <= worst).all()
    assert (found == worst).float().mean() > 0.8


def test_deadlines_are_shares_of_the_whole_network(digits_target: EarlyExitTarget) -> None:
    for share in (0.1, 0.5, 0.9):
        guarded = Deadline(share).defend(digits_target)
        cost = guarded.prices.cost(guarded.static_work()) / digits_target.prices.cost(digits_target.static_work())
        assert cost.item() <= share
        assert cost.item() == digits_target.exit_costs[len(guarded.units) - 1]
    with pytest.raises(UsageError, match="second exit"):
        Deadline(0.05).defend(digits_target)
    with pytest.raises(UsageError, match="2 to 6 exits"):
        digits_target.upto(1)
    assert len(Deadline(None, 6).defend(digits_target).units) == len(digits_target.units) == 6
    with pytest.raises(UsageError, match="from 2 to 6 for sdn-digits, got 99: it has 6"):
        Deadline(None, 99).check(digits_target)


@settings(max_examples=20)
@given(st.integers(1, 60), st.floats(0, 1))
def test_step_budgets_meet_the_closed_form(most: int, mean: float) -> None:
    free = PeakTarget(cap=40)
    inputs = free.space.snap(torch.full((1, 1, 4, 4), mean))
    guarded = StepBudget(most).defend(free)
    steps = free.iterations(free.run(inputs).work)
    outcome = guarded.run(inputs)
    assert guarded.max_work(inputs).counts.tolist() == [[1, min(most, 40)]]
    assert outcome.work.counts[0, 1] == steps.clamp_max(most)
    assert outcome.outputs[0].capped == (steps.item() > most or free.run(inputs).outputs[0].capped)


@pytest.mark.parametrize("name", ["steps", "loop-stop", "hazard"])
@pytest.mark.parametrize("target", [PeakTarget(cap=60), ToyText(cap=120)])
def test_fitted_guards_leave_what_they_were_fitted_on(name: str, target: PeakTarget | ToyText) -> None:
    guard = load_defense(name)
    assert isinstance(guard, Guard)
    clean = inputs_of(target, 300, 5, calm=True)
    guarded = guard.fit(target, clean).defend(target)
    free, kept = target.run(clean), guarded.run(clean)
    assert kept.outputs == free.outputs
    assert guarded.static_work().counts[0, 1] == free.work.counts[:, 1].max()
    assert target.stop is None


def test_a_fitted_loop_stop_ends_what_repeats_more_than_clean_outputs() -> None:
    target = ToyText(cap=120)
    guard = LoopStop(100).fit(target, ("a 4", "2 cats"))  # these write "~" four times at most
    assert (guard.most, guard.learned, guard.repeats) == (100, None, 5)
    guarded = guard.defend(target)
    assert guarded.run(("a 4", "99")).work.counts[:, 1].tolist() == [5, 5]


def test_a_hazard_monitor_ends_an_output_that_wavers() -> None:
    target = PeakTarget(cap=60, gain=0.02)  # the end token is nearly as likely as a word from the first step on
    inputs = target.space.snap(torch.tensor([0.5, 0.8]).view(2, 1, 1, 1).expand(2, 1, 4, 4))
    long, short = target.run(inputs).work.counts[:, 1].tolist()
    guard = HazardMonitor(60, threshold=2.0)
    steps = guard.defend(target).run(inputs).work.counts[:, 1].tolist()
    assert (long, short) == (31, 13)
    assert steps[0] < long
    sharp = PeakTarget(cap=60, gain=9.0)
    assert guard.defend(sharp).run(inputs).work.counts[:, 1].tolist() == [long, short]


def test_box_caps_keep_the_best() -> None:
    target = LampTarget(nms=NMS(conf=0.1))
    image = torch.linspace(0.2, 0.9, 24).view(1, 1, 4, 6).repeat_interleave(4, 2).repeat_interleave(4, 3)
    image = target.space.snap(image)
    guarded = BoxCap(7).defend(target)
    free, kept = target.run(image).outputs[0], guarded.run(image)
    assert kept.work.counts.tolist() == [[1, 24, 21]]
    assert kept.work.counts.equal(guarded.static_work().counts)
    assert kept.outputs[0].boxes.equal(free.boxes[:7])
    assert target.nms.max_det == 300


def test_fitted_box_caps_leave_clean_images() -> None:
    target = LampTarget()
    clean = torch.cat([lit(count)[0] for count in (0, 3, 5)])
    guard = BoxCap().fit(target, clean)
    assert (guard.compared, guard.kept) == (5, 5)
    guarded = guard.defend(target)
    assert guarded.run(clean).work.counts.equal(target.run(clean).work.counts)
    assert len(guarded.run(lit(24)[0]).outputs[0]) == 5
    assert BoxCap(50).defend(target).static_work().counts.equal(target.static_work().counts)


def shown(*cells: int) -> Objects:
    """Return sure detections in these places."""
    boxes = torch.tensor(cells).unsqueeze(1) * 20.0 + torch.tensor([0.0, 0, 10, 10])
    return Objects(boxes, torch.zeros(len(cells), dtype=torch.int64), torch.full((len(cells),), 0.9))


@pytest.mark.parametrize("settings", [ByteTrack(max_tracks=2), SORT(max_tracks=2, confirm=2)])
def test_capped_trackers_go_on_with_what_they_follow(settings: Tracking) -> None:
    pytest.importorskip("trackers")
    tracker = CountedTracker(settings)
    alive, ids = [], []
    for crowd in range(6):
        seen, (now, _, _) = tracker.step(shown(1, 2, *range(10 + 10 * crowd, 13 + 10 * crowd)))
        assert seen.ids is not None
        alive.append(now)
        ids.append(seen.ids[:2].tolist())
    assert alive == [0, 2, 2, 2, 2, 2]
    assert ids[-1] == ids[2] == [0, 1]  # whichever samples come and go beside them


def test_tracks_are_capped_on_their_own() -> None:
    pytest.importorskip("trackers")
    target = guards.lamps(SORT(buffer=4, confirm=1))
    videos = inputs_of(target, 12, 2)
    guarded = TrackCap(2).defend(target)
    alive = [unit.name for unit in target.units].index("track_alive")
    assert target.run(videos).work.counts[:, alive].max() > 2 * (target.frames - 1)
    assert guarded.run(videos).work.counts[:, alive].max() == 2 * (target.frames - 1)
    assert guarded.static_work().counts[0, alive] == 2 * (target.frames - 1)


def test_guards_come_after_other_defenses() -> None:
    from torpor.serving.quota import Metered

    inside = PeakTarget()
    guarded = StepBudget(7).defend(Wrapped(inside, Metered(), "layered"))
    inputs: Tensor = torch.full((1, 1, 4, 4), 0.5)
    assert guarded.run(inputs).work.counts.tolist() == [[1, 7]]
    looped = LoopStop(30, repeats=3).defend(Wrapped(inside, Metered(), "layered"))
    assert looped.run(inputs).work.counts.tolist() == [[1, 9]]
