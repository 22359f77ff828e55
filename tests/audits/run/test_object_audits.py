"""Audits of targets that hand on what they find: images and videos."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lamp_audits import FOLLOWED, FRAMES, LAMPS, followed, lamps
from PIL import Image
from toy_audits import call, records

import torpor
from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.core.errors import UsageError
from torpor.core.objects import frames_of, from_json
from torpor.targets.detector.contract import CandidateTarget
from torpor.targets.resolve import load_target

CASES = {LAMPS: ("overload", "Linf", 0.3), FOLLOWED: ("overload", "Linf", 0.3)}


@pytest.fixture(scope="module", params=CASES)
def audit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[CandidateTarget, Path]:
    name, norm, eps = CASES[request.param]
    folder = tmp_path_factory.mktemp("objects") / "run"
    target = load_target(request.param)
    assert isinstance(target, CandidateTarget)
    run_audit(Plan(request.param, (name,), norm, (eps,), steps=4, limit=4, batch_size=2), target, folder)
    return target, folder


def summary(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "audit.json").read_text())["summary"]
    return found


def test_rows_agree_with_the_records(audit: tuple[CandidateTarget, Path]) -> None:
    target, folder = audit
    table = records(folder).to_pylist()
    rows = summary(folder)
    names = ["control-noise", "control-flat", "control-shuffled", "control-best-noise"]
    assert [row["attack"] for row in rows] == ["clean", "overload", *names]
    for row in rows:
        own = [kept for kept in table if kept["attack"] == row["attack"]]
        work = [sum(kept["work"][unit] for kept in own) / 4 for unit in range(len(target.units))]
        assert row["units_mean"] == dict(zip((unit.name for unit in target.units), work, strict=True))
        assert row["kept_mean"] == sum(kept["kept"] for kept in own) / 4
        assert sum(row["stage_cost_mean"].values()) == pytest.approx(row["cost_mean"])
    clean, attacked = rows[:2]
    assert attacked["units_mean"]["candidate"] > clean["units_mean"]["candidate"]
    assert attacked["slowdown_mean"] > rows[2]["slowdown_mean"]
    assert attacked["success_criterion"] == "slowdown >= 2"


def test_scores_are_of_what_is_really_there(audit: tuple[CandidateTarget, Path]) -> None:
    target, folder = audit
    clean, attacked = summary(folder)[:2]
    assert clean["map50"] == clean["map"] == 1
    assert attacked["map50"] <= 1
    tracks = target.space.kind == "video"
    assert (clean["mota"] is not None) == tracks
    assert (clean["mota_reason"] is None) == tracks
    if tracks:
        # a track is confirmed by its second match, so nothing is followed in the first frame of a video
        assert clean["mota"] == pytest.approx(1 - 1 / FRAMES)
        assert attacked["mota"] < clean["mota"]


def test_records_hold_what_was_found_and_what_is_there(audit: tuple[CandidateTarget, Path]) -> None:
    _, folder = audit
    for kept in records(folder).to_pylist():
        found, truth = (frames_of(from_json(kept[name])) for name in ("found", "truth"))
        assert len(found) == len(truth)
        assert sum(len(objects.followed()) for objects in found) == kept["kept"]
        assert (kept["clean_recall"] is None) == (kept["kept_clean"] == 0)
        assert not kept.keys() & {"exit", "steps"}
        if kept["attack"] == "clean":
            assert [frame.boxes.tolist() for frame in found] == [frame.boxes.tolist() for frame in truth]


def test_stages_are_priced_by_the_clock(audit: tuple[CandidateTarget, Path]) -> None:
    target, folder = audit
    clock = json.loads((folder / "audit.json").read_text())["clock"]
    assert clock["seconds_per_unit"] is not None, clock["reason"]
    assert list(clock["seconds_per_unit"]) == [unit.name for unit in target.units]
    assert len(clock["nms"]["seconds"]) == len(clock["nms"]["candidates"])
    assert all(clock["nms"][term] >= 0 for term in ("a_s", "b_s", "c_s"))


@pytest.mark.parametrize(("make", "name"), [(lamps, LAMPS), (followed, FOLLOWED)])
def test_the_command_line_end_to_end(make: Any, name: str, tmp_path: Path) -> None:  # noqa: ANN401
    run = tmp_path / "run"
    code, out, said = call(
        *("audit", name, "--attacks", "overload", "--norm", "Linf", "--eps", "0.3", "--steps", "3", "--limit", "3"),
        *("--out", run),
    )
    assert code == 0, said
    assert "clean" in out
    assert (run / "report.html").is_file()
    assert call("check", run, "overload: mean(kept) >= 0")[0] == 0
    assert call("check", run, "max(kept) < 0")[0] == 10
    assert call("measure", name, "--limit", "2")[0] == 0
    bound = call("bound", name)
    assert bound[0] == 0, bound[2]
    assert "nms_pair" in bound[1]


def test_two_runs_give_equal_records(tmp_path: Path) -> None:
    plan = Plan(FOLLOWED, ("overload",), "Linf", (0.3,), steps=3, limit=2, batch_size=1)
    for name in ("one", "other"):
        run_audit(plan, followed(), tmp_path / name)
    assert records(tmp_path / "one").equals(records(tmp_path / "other"))


@pytest.mark.parametrize("name", [LAMPS, FOLLOWED])
def test_attacked_inputs_can_be_saved(name: str, tmp_path: Path) -> None:
    out = tmp_path / "found.safetensors"
    code, _, said = call(
        *("attack", name, "overload", "--eps", "0.3", "--steps", "2", "--limit", "2", "--out", out),
    )
    assert code == 0, said
    assert out.is_file()


def test_defaults_leave_out_what_has_nothing_to_learn_from(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (24, 16), 80).save(folder / "one.png")
    code, out, said = call("audit", LAMPS, "--inputs", folder, "--out", tmp_path / "run", "--norm", "Linf")
    assert code == 0, said
    assert "Without phantom-sponges" in out + said
    assert {row["attack"] for row in summary(tmp_path / "run")} >= {"clean", "standard-detector"}
    code, _, said = call(
        "audit", LAMPS, "--inputs", folder, "--out", tmp_path / "other", "--attacks", "phantom-sponges"
    )
    assert code == 2
    assert "none to fit on" in said


@pytest.mark.parametrize("name", [LAMPS, FOLLOWED])
def test_each_object_costs_what_the_audit_is_given(name: str, tmp_path: Path) -> None:
    ask = partial(torpor.audit, name, "overload", norm="Linf", eps=0.3, steps=3, limit=2, timed=False)
    ask(downstream="2 MFLOPs", out=tmp_path / "run")
    raw = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert raw["config"]["downstream"] == raw["target"]["downstream"] == 2e6
    assert raw["units"]["none"][-1] == {"name": "downstream", "price": 2e6, "stage": "downstream"}
    assert raw["headlines"][0]["title"] == "cost"
    prices = [unit["price"] for unit in raw["units"]["none"]]
    for kept in records(tmp_path / "run").to_pylist():
        assert kept["work"][-1] == kept["kept"]
        assert kept["cost"] == pytest.approx(
            sum(count * price for count, price in zip(kept["work"], prices, strict=True))
        )
    command = shlex.split(raw["command"])
    assert command[command.index("--downstream") + 1] == "2000000.0"
    with pytest.raises(UsageError, match="downstream"):
        ask(downstream=3e6, out=tmp_path / "run")  # another audit
    ask(out=tmp_path / "bare")
    bare = json.loads((tmp_path / "bare" / "audit.json").read_text())
    assert "downstream" not in bare["config"]
    assert "cost" not in [each["title"] for each in bare["headlines"]]


@pytest.mark.parametrize(
    ("value", "said"), [("much", "expected a cost"), ("-1", "greater than 0"), ("2 s", "expected a cost")]
)
def test_a_cost_per_object_that_is_none_is_refused(value: str, said: str, tmp_path: Path) -> None:
    code, _, error = call("audit", LAMPS, f"--downstream={value}", "--out", tmp_path / "run")
    assert code == 2
    assert said in error


def test_what_hands_nothing_on_has_no_cost_per_object(tmp_path: Path) -> None:
    code, _, said = call(
        "audit", "torpor.targets.early_exit.toys:needle", "--downstream", "1e6", "--out", tmp_path / "run"
    )
    assert code == 2
    assert "leave --downstream out" in said


def test_workers_price_objects_too(tmp_path: Path) -> None:
    ask = partial(torpor.audit, LAMPS, "overload", norm="Linf", eps=0.3, steps=3, limit=4, batch_size=2, timed=False)
    for executor in ("local", "processes:2"):
        ask(downstream=5e5, threads=1, executor=executor, out=tmp_path / executor[:5])
    assert records(tmp_path / "local").equals(records(tmp_path / "proce"))
