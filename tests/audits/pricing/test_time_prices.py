"""An audit of a decoder in steps and in the seconds that it calibrated, against a clock whose readings are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from toy_audits import NEEDLE, call, write_images

from torpor.api.result import load_audit
from torpor.audits.plan import Plan
from torpor.audits.pricing.prices import PRICES, read_priced
from torpor.audits.read import SavedAudit, read_audit
from torpor.audits.run.engine import run_audit
from torpor.core.errors import UsageError
from torpor.core.work import PriceList
from torpor.meters import RecordedClock
from torpor.meters.calibration import REPEATS, unit_clock
from torpor.reports.verdict import moved, verdict
from torpor.targets.decoder.family import StepFamily
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.resolve import load_target

TOY = "torpor.targets.decoder.toy_text:ToyText"
STEP_S = 0.25


def seconds_of(target: Any) -> dict[str, float]:  # noqa: ANN401
    """Return seconds per unit that have nothing to do with FLOPs: a step takes most."""
    return {unit.name: STEP_S if unit.name == "decoder_step" else 1e-4 for unit in target.units}


def recorded(target: Any, inputs: Any, overhead: float) -> dict[str, Any]:  # noqa: ANN401
    """Calibrate on a clock on which units take those seconds, and the deployed run ``overhead`` times as much."""
    works = [work for work, _ in target.probes(inputs)] + [target.run(inputs).work]
    prices = PriceList("seconds", tuple(seconds_of(target).values()))
    times = [prices.cost(work).item() for work in works]
    times[-1] *= overhead
    turns = [times if repeat % 2 == 0 else times[::-1] for repeat in range(REPEATS)]
    clock = RecordedClock.of_durations([seconds for turn in turns for seconds in turn])
    return unit_clock(target, inputs, clock)


def run(folder: Path, *, overhead: float = 1.05, **more: Any) -> Path:  # noqa: ANN401
    (folder / "texts.txt").write_text("my dog 3\nthe cat sat\na tree, a bird\n9\n", encoding="utf-8")
    plan = Plan(TOY, ("nmtsloth-char",), inputs=str(folder / "texts.txt"), limit=4, **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepFamily, "clock", lambda self, target, inputs: recorded(target, inputs, overhead))
        run_audit(plan, ToyText(cap=40), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("decoder"))


def attack_of(audit: SavedAudit) -> Mapping[str, Any]:
    return next(row for row in audit.summary if row["kind"] == "attack")


def test_steps_count_steps_alone(folder: Path) -> None:
    found = read_priced(folder, "steps")
    assert found.currency == "steps"
    for row in found.summary:
        assert row["cost_mean"] == row["steps_mean"]
    records = found.load_records(["slowdown", "steps", "steps_clean"]).to_pylist()
    assert [each["slowdown"] for each in records] == [each["steps"] / each["steps_clean"] for each in records]
    assert attack_of(found)["slowdown_mean"] > 1


def test_seconds_are_those_that_the_audit_calibrated(folder: Path) -> None:
    audit, found = read_audit(folder), read_priced(folder, "seconds")
    assert audit.clock is not None
    assert audit.clock["seconds_per_unit"] == pytest.approx(seconds_of(ToyText()), rel=1e-6)
    assert found.currency == "seconds"
    for row, was in zip(found.summary, audit.summary, strict=True):
        work = audit.load_records(["work"], was)["work"].to_pylist()
        by_hand = [sum(n * s for n, s in zip(each, seconds_of(ToyText()).values(), strict=True)) for each in work]
        assert row["cost_mean"] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-6)
        assert row["latency_modeled_s"] == was["latency_modeled_s"] == pytest.approx(row["cost_mean"])
    said = " ".join(found.notes)
    assert "seconds on cpu, RecordedClock (calibrated in the audit; they differ" in said
    assert "by up to 5.0 %" in said


def test_the_headlines_of_a_decoder_have_seconds_with_their_error(folder: Path) -> None:
    parts = dict(read_audit(folder).parts())
    ranked = moved(parts)
    assert {"cost", "decoder steps", "modeled latency"} <= {each.headline.title for each in ranked}
    factors = [each.factor or 0.0 for each in ranked]
    assert factors == sorted(factors, reverse=True)
    by = {each.headline.title: each for each in ranked}
    assert by["modeled latency"].factor == pytest.approx(by["decoder steps"].factor, rel=1e-2)
    said = verdict(parts)
    assert any(each.startswith("Modeled latency per input ") and " s to " in each for each in said)
    assert any(each.endswith("differ from the time of a call by up to 5.0 %.") for each in said)


def test_measured_latency_is_a_headline_where_both_sides_are_valid(folder: Path) -> None:
    parts = dict(read_audit(folder).parts())
    seconds = {"clean": 0.1, "attack": 1.1, "control": 0.2}
    rows = [{**row, "latency_s_p50": seconds[row["kind"]], "latency_valid": True} for row in parts["summary"]]
    found = next(each for each in moved({**parts, "summary": rows}) if each.headline.title == "latency")
    assert found.factor == pytest.approx(11)
    assert found.sentence.startswith("Latency per input 100 ms to 1.1 s in the median (11.0x) by nmtsloth-char")
    rows = [{**row, "latency_valid": row["kind"] == "attack"} for row in rows]
    assert "latency" not in {each.headline.title for each in moved({**parts, "summary": rows})}


def test_seconds_that_are_not_valid_are_refused_and_no_headline(tmp_path: Path) -> None:
    wrong = run(tmp_path, overhead=2.0)
    with pytest.raises(UsageError, match=r"got invalid ones \(prices miss the time of a call by 100%"):
        read_priced(wrong, "seconds")
    audit = read_audit(wrong)
    assert {row["latency_modeled_s"] for row in audit.summary} == {None}
    assert "modeled latency" not in {each.headline.title for each in moved(audit.parts())}


def test_audits_without_a_clock_or_with_other_units_are_refused(tmp_path: Path) -> None:
    quiet = run(tmp_path, timed=False, defenses=("strip",))
    with pytest.raises(UsageError, match=r"valid seconds per unit in the audit, got none \(the audit did not measure"):
        read_priced(quiet, "seconds")
    clock = {"seconds_per_unit": {"decoder_step": 1.0}, "price_list": "seconds", "valid": True, "error": 0.0}
    with pytest.raises(UsageError, match="seconds of every unit, got none of strip; pass a price file"):
        PRICES.get("seconds").with_clock(clock).price_list(["decoder_step", "strip"], PriceList("flops", (1.0, 1.0)))
    data = write_images(tmp_path / "data", test=4, train=10)
    plan = Plan(NEEDLE, ("deepsloth",), "L2", (0.5,), steps=2, limit=4, data_dir=str(data), timed=False)
    run_audit(plan, load_target(NEEDLE), tmp_path / "exits")
    with pytest.raises(UsageError, match="the unit decoder_step to price an audit in steps, got exit0, exit1"):
        read_priced(tmp_path / "exits", "steps")
    code, out, err = call("report", tmp_path / "exits", "--prices", "seconds")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_a_program_prices_an_audit_by_name(folder: Path) -> None:
    audit = load_audit(folder)
    found = audit.priced("steps")
    assert found.currency == "steps"
    assert found.records["cost"].tolist() == audit.records["steps"].tolist()
    assert found.rows[0]["cost_mean"] == audit.rows[0]["steps_mean"]
    assert not found.check("nmtsloth-char: mean(cost) < 1")
    assert found.report().name == "report-steps.html"
    with pytest.raises(UsageError, match="did you mean steps"):
        audit.priced("step")


def test_the_command_line_knows_them_by_name(folder: Path) -> None:
    code, out, err = call("report", folder, "--prices", "seconds")
    assert code == 0, err
    assert "by up to 5.0 %" in " ".join(out.split())
    assert (folder / "report-seconds.html").is_file()
    code, out, _ = call("check", folder, "nmtsloth-char: mean(cost) < 1", "--prices", "steps")
    assert code == 10, out
    code, out, _ = call("check", folder, "clean: mean(cost) < 1000s", "--prices", "seconds")
    assert code == 0, out
    listed = json.loads(call("list", "prices", "--json")[1])
    assert [each["name"] for each in listed][:3] == ["flops", "seconds", "steps"]
