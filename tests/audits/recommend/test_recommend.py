"""The search for caps on toys whose worst case is known, its records, and how it resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from benchmarks.recommend import CapCase, agreement, table
from toy_audits import NEEDLE, write_images

from torpor.audits.recommend.choices import CapChoice, choices, ladders
from torpor.audits.recommend.evidence import CapRecords, bounded_by
from torpor.audits.recommend.limits import parse_limit, parse_loss
from torpor.audits.recommend.recommendation import CapRecommendation
from torpor.audits.recommend.run import FILE, RECORDS, CapRequest, recommend
from torpor.audits.recommend.search import pareto
from torpor.audits.recommend.trial import CapTrial
from torpor.audits.request import Request, request
from torpor.audits.run.limits import Limits
from torpor.core.batches import Samples
from torpor.core.errors import DataError, UsageError
from torpor.data.given import GivenInputs
from torpor.data.sets import Batch
from torpor.defenses.guards.base import Guard
from torpor.defenses.guards.box_caps import BoxCap, TrackCap
from torpor.defenses.guards.deadline import Deadline
from torpor.defenses.guards.step_budget import StepBudget
from torpor.serving.request_quota import RequestQuota
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.toys import needle

LIMIT = "p99(cost) < 1x"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def needles(images: Path, attacks: str = "deepsloth", limit: int = 12) -> Request:
    return request(NEEDLE, attacks, eps="0.2", steps=12, limit=limit, batch_size=5, data_dir=images, timed=False)


def found(images: Path, out: Path, asked: CapRequest, **settings: object) -> CapRecommendation:
    return recommend(asked, needles(images), out, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [
    "p99(cost) > 2x", "slowdown_mean < 2", "p99(utility) < 2", "pgd: p99(cost) < 2x", "@deadline:2: p99(cost) < 2x",
    "p99(cost) < 2y", "p99(cost) < 0x", "cost < 2x",
])  # fmt: skip
def test_what_is_no_upper_limit_of_cost_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_limit(text)


@pytest.mark.parametrize("text", ["101%", "-1%", "a little", "", "2"])
def test_losses_are_shares(text: str) -> None:
    with pytest.raises(UsageError, match="expected a loss of utility"):
        parse_loss(text)


def test_a_limit_in_times_is_over_the_mean_clean_cost() -> None:
    cost, clean = np.array([4.0, 8.0]), np.array([1.0, 3.0])
    assert parse_limit("max(cost) < 3x").value(cost, clean) == 4.0
    assert parse_limit("max(cost) < 3").value(cost, clean) == 8.0
    assert parse_limit("max(slowdown) < 3").value(cost, clean) == 4.0


def test_ladders_are_declared_by_the_guards_and_never_rise() -> None:
    for target, kinds in (
        (needle(), {"deadline", "quota"}),
        (PeakTarget(cap=30), {"steps", "quota"}),
        (LampTarget(), {"boxes", "quota"}),
    ):
        of = ladders(target, None, kinds=tuple(kinds))
        assert {each.kind for each in of} == kinds
        for each in of:
            bounds = [float(rung.defend(target).prices.cost(rung.defend(target).static_work())) for rung in each.rungs]
            assert bounds == sorted(bounds, reverse=True)
            assert bounds[0] < float(target.prices.cost(target.static_work()))


def test_guards_that_cap_the_same_are_not_combined() -> None:
    target = PeakTarget(cap=10)
    names = [each.name for each in choices(target, ladders(target, None, kinds=["steps", "quota"]))]
    assert names[0] == "none"
    assert not any("+" in name for name in names)
    assert set(BoxCap.caps) != set(TrackCap.caps)


def test_what_is_no_guard_or_does_not_apply_is_refused() -> None:
    for kinds, words in ((["jpeg"], "expected guards, which cap work"), (["steps"], "expected guards for early exit")):
        with pytest.raises(UsageError, match=words):
            ladders(needle(), None, kinds=kinds)


@pytest.mark.parametrize("percent", [0, 100])
def test_a_quota_is_a_share(percent: int) -> None:
    with pytest.raises(UsageError, match="1 to 99 per cent"):
        RequestQuota(percent)
    with pytest.raises(UsageError, match="smallest caps"):
        RequestQuota(1).defend(needle())


def test_replayed_work_is_the_work_of_a_run() -> None:
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.35
    texts = ("a cat", "12 cats", "Zip 99", "pizzazz")
    cases: list[tuple[Guard, Target, Samples]] = [
        (Deadline(None, 2), needle(), needle().space.snap(images)),
        (StepBudget(5), ToyText(), texts),
    ]
    for guard, target, inputs in cases:
        before = target.run(inputs)
        found = guard.replayed(target, inputs, before.work)
        assert found is not None
        assert found.counts.equal(guard.defend(target).run(inputs).work.counts)
        assert not found.counts.sum(1).equal(before.work.counts.sum(1))


def test_the_search_finds_the_front_of_the_closed_form(images: Path, tmp_path: Path) -> None:
    asked = CapRequest(("max(cost) < 10x",), 1.0, kinds=("deadline",))
    result = found(images, tmp_path / "out", asked)
    search, target = result.search, needle()
    ends = np.cumsum([unit.flops for unit in target.units])
    inputs = torch.cat([part.cpu() for part in search.records.inputs])
    worst = target.worst_depth(inputs, 0.2)
    for one, exits in zip(search.every, (4, 3, 2), strict=True):
        assert (torch.from_numpy(one.least) <= torch.from_numpy(one.most) + 1e-9).all()
        depth = torch.tensor(1 + np.searchsorted(ends, one.least))
        assert (depth <= worst.clamp_max(exits)).all()
        assert (depth == worst.clamp_max(exits)).float().mean() > 0.7
    attacked = [one.choice.name for one in search.every if one.attacked]
    assert attacked[0] == "none"
    assert len(attacked) <= 2


def test_it_agrees_with_attacking_everything(images: Path, tmp_path: Path) -> None:
    asked = CapRequest(("p99(cost) < 1.2x",), 1.0)
    quick = found(images, tmp_path / "quick", asked).search
    grid = found(images, tmp_path / "grid", replace(asked, exhaustive=True)).search
    assert all(one.attacked for one in grid.every)
    assert sum(one.attacked for one in quick.every) < len(grid.every)
    for mine, theirs in zip(quick.every, grid.every, strict=True):
        assert quick.attacked(mine) == pytest.approx(grid.attacked(theirs), rel=0.05)
        assert quick.loss(mine) == grid.loss(theirs)


@pytest.mark.parametrize(
    ("limit", "attacked"), [("max(cost) < 10x", ["none"]), ("mean(cost) < 10x", ["none", "deadline:2"])]
)
def test_nothing_more_is_attacked_where_no_input_can_cost_more(
    images: Path, tmp_path: Path, limit: str, attacked: list[str]
) -> None:
    search = found(images, tmp_path / "out", CapRequest((limit,), 1.0, kinds=("deadline",))).search
    costliest = [one.least.max() / one.bound for one in search.every]
    assert costliest == [1.0] * 3
    assert max(one.least.mean() / one.bound for one in search.every) < 0.9
    assert [one.choice.name for one in search.every if one.attacked] == attacked


def test_recorded_work_saves_runs(images: Path) -> None:
    audit = needles(images)
    batches = list(audit.data().batches("test", 5, 12))
    replayed, ran = CapRecords(audit.target, batches), CapRecords(audit.target, batches)
    ran._checked["deadline"] = False
    choice = CapChoice(Deadline(None, 3).defend(audit.target), Deadline(None, 3))
    one, other = replayed.measured(choice), ran.measured(choice)
    assert np.array_equal(one.own, other.own)
    assert np.array_equal(one.utility, other.utility)
    assert replayed.runs < ran.runs


def test_a_replay_that_a_run_refutes_is_given_up(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit, said = needles(images), dict[str, None]()
    records = CapRecords(audit.target, list(audit.data().batches("test", 12, 12)), "own", said.setdefault)
    right = records.measured(CapChoice(Deadline(None, 2).defend(audit.target), Deadline(None, 2)))
    records._checked.clear()
    monkeypatch.setattr(Deadline, "replayed", lambda self, target, inputs, work: type(work)(work.counts[:, :2] * 0))
    again = records.measured(CapChoice(Deadline(None, 2).defend(audit.target), Deadline(None, 2)))
    assert np.array_equal(right.own, again.own)
    assert any("run each time" in text for text in said)


def test_no_cap_is_good_enough(images: Path, tmp_path: Path) -> None:
    result = found(images, tmp_path / "out", CapRequest(("max(cost) < 0.1x",), 1.0))
    assert result.verdict.exit_code == 10
    assert "the nearest is deadline:2" in result.sentence or "the nearest is quota:" in result.sentence
    assert result.search.chosen() is None


def test_the_folder_keeps_what_was_crafted(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    first = found(images, out, CapRequest(("p99(cost) < 2x",), 1.0))
    records = (out / RECORDS).read_bytes()
    monkeypatch.setattr(CapTrial, "shard", lambda self, number: pytest.fail("attacked again"))
    again = found(images, out, CapRequest(("p99(cost) < 2x",), 1.0))
    assert again.to_json() == first.to_json() == json.loads((out / FILE).read_text())
    assert (out / RECORDS).read_bytes() == records
    table = pq.read_table(out / RECORDS)
    assert table.num_rows == 12 * len(first.search.every)
    with pytest.raises(UsageError, match="empty folder"):
        recommend(CapRequest((LIMIT,)), needles(images, limit=11), out)


def test_time_that_is_over_ends_the_search(images: Path, tmp_path: Path) -> None:
    result = found(images, tmp_path / "out", CapRequest(("p99(cost) < 2x",), 1.0), limits=Limits(seconds=1e-6))
    assert result.verdict.exit_code == 11
    assert "ended by a limit" in result.reason
    assert not result.search.free.attacked


def test_passes_that_are_used_up_end_the_search_and_more_of_them_resume_it(images: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "out", CapRequest(("p99(cost) < 2x",), 1.0)
    whole = found(images, tmp_path / "whole", asked)
    spent = whole.passes + whole.search.records.runs
    each = 5 * 25  # a batch's passes
    short = found(images, out, asked, limits=Limits(queries=60))
    assert short.search.stopped
    assert short.verdict.exit_code == 11
    assert short.passes + short.search.records.runs <= 60 + each
    assert "A limit ended the search" in " ".join(short.notes)
    again = found(images, out, asked, limits=Limits(queries=spent))
    assert again.to_json() == whole.to_json()


def test_a_guard_that_nothing_is_left_to_teach_is_said_in_plain_words() -> None:
    told: list[str] = []
    texts = GivenInputs(("a 1", "a 2"), "texts")
    found = ladders(ToyText(), texts, kinds=("steps", "loop-stop"), tell=told.append)
    assert [each.kind for each in found] == ["steps"]
    assert told == ["Without loop-stop: it learns from inputs beside those that are attacked, and there are none."]


def test_utility_must_be_measured(tmp_path: Path) -> None:
    target = PeakTarget()
    batch = Batch(torch.arange(2), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), ())
    with pytest.raises(DataError, match="--utility agreement"):
        CapRecords(target, [batch])
    records = CapRecords(target, [batch], "agreement")
    guard = StepBudget(2)
    assert records.measured(CapChoice(guard.defend(target), guard)).utility.tolist() == [
        float(step <= 2) for step in target.run(target.read(batch.inputs)).work.counts[:, 1].tolist()
    ]


def test_looser_caps_bound_stricter_ones_only_where_no_input_says_otherwise() -> None:
    target = PeakTarget(cap=40)
    pixels = torch.tensor([40, 90, 120], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    records = CapRecords(target, [Batch(torch.arange(3), pixels, ())], "agreement")
    small, large = (records.measured(CapChoice(target.with_cap(cap), StepBudget(cap))) for cap in (10, 30))
    crafted = records.crafted("none", [target.space.snap(torch.full((3, 1, 4, 4), 0.5))])
    for one in (small, large):
        records.confront(one, crafted)
    assert np.array_equal(bounded_by(small, large), large.least)  # type: ignore[arg-type]
    assert bounded_by(large, small) is None  # as if the looser setting capped more


def test_a_static_bound_needs_no_attack_that_works(images: Path, tmp_path: Path) -> None:
    for limit, code in (("max(cost) < 1000x", 0), ("max(cost) < 1.9x", 11)):
        weak = request(NEEDLE, "deepsloth", eps="1/255", steps=1, limit=12, data_dir=images, timed=False)
        result = recommend(CapRequest((limit,), 0.0), weak, tmp_path / "out")
        assert not result.effect
        assert result.verdict.exit_code == code


def test_a_value_is_not_rounded_to_the_limit_that_it_keeps(images: Path, tmp_path: Path) -> None:
    result = found(images, tmp_path / "out", CapRequest(("p99(cost) < 2x",), 1.0))
    free = result.search.free
    free.least = np.full_like(free.least, 1.998 * result.search.records.cost.mean())
    assert result._attacked_text(free) == "attacked p99(cost) 1.998x"
    free.least = np.full_like(free.least, 1.234 * result.search.records.cost.mean())
    assert result._attacked_text(free) == "attacked p99(cost) 1.23x"


def test_samples_that_cost_nothing_have_no_slowdown() -> None:
    with pytest.raises(DataError, match="cost something"):
        parse_limit("max(slowdown) < 2").require_cost(np.array([0.0, 1.0]))
    with pytest.raises(DataError, match="cost something"):
        parse_limit("max(cost) < 2x").require_cost(np.zeros(2))
    parse_limit("max(cost) < 2").require_cost(np.zeros(2))


def test_the_front_leaves_out_what_is_beaten() -> None:
    assert pareto([(0.0, 3.0), (0.1, 3.0), (0.1, 1.0), (0.2, 1.5)], lambda pair: pair) == [(0.0, 3.0), (0.1, 1.0)]


def test_the_benchmark_compares_with_the_grid() -> None:
    case = CapCase("sdn-digits", "deepsloth", "p99(cost) < 20x", 0.3, 6, "16/255", 5, kinds=("deadline",))
    compared = agreement(case)
    assert compared.kept
    assert compared.apart <= 0.05
    assert compared.quick.passes < compared.grid.passes
    rows = table(compared.grid)
    assert len(rows) == 2
    assert "| `none` |" in rows[0]
    assert "| `deadline:2` |" in rows[1]
