"""Limits on what an audit spends: it stops between attacks, keeps what is whole, says so, and goes on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.masked import masked
from toy_audits import NEEDLE, call, records, write_images

import torpor
from torpor.attacks.base import Candidates
from torpor.attacks.registry import load_attack
from torpor.audits.integrity import remarks
from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run import engine
from torpor.audits.run.engine import run_audit
from torpor.audits.run.estimate import estimate, passes
from torpor.audits.run.job import source
from torpor.audits.run.limits import Limits, Spent, parse_cost
from torpor.audits.run.processes import Processes
from torpor.audits.verdict.gate import Verdict, evaluate_gates
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.core.errors import DataError, UsageError
from torpor.core.units import Unit
from torpor.core.work import PriceList
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.resolve import load_target


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    data = write_images(tmp_path_factory.mktemp("limits") / "data", test=9, train=40)
    return Plan(NEEDLE, ("pgd",), "Linf", (0.2,), steps=5, batch_size=3, data_dir=str(data), timed=False)


@pytest.fixture(scope="module")
def whole(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_audit(plan, load_target(NEEDLE), folder)
    return folder


def taken(folder: Path, batches: int) -> Spent:
    """Return by hand what the attacks of the first batches took: forward passes, and all passes at the static bound."""
    rows = [row for row in records(folder).to_pylist() if row["attack"] != "clean" and row["sample"] < 3 * batches]
    cost = sum((row["forwards"] + 2 * row["backwards"]) * row["cost_static"] for row in rows)
    return Spent(sum(row["forwards"] for row in rows), cost)


def samples_of(folder: Path) -> Any:  # noqa: ANN401 - JSON
    """Return what an audit says of its samples but for the seconds of each batch."""
    found = json.loads((folder / "audit.json").read_text())["samples"]
    assert all(len(each) == found["batches"] for each in found.pop("seconds").values())
    return found


@pytest.mark.parametrize("kind", ["queries", "cost"])
@pytest.mark.parametrize(("over", "batches"), [(0, 2), (-1, 1)])
def test_a_limit_keeps_the_batches_that_fit_into_it_to_the_last_pass(
    kind: str, over: int, batches: int, plan: Plan, whole: Path, tmp_path: Path
) -> None:
    limit = getattr(taken(whole, 2), kind) + over
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", limits=Limits(**{kind: limit}))
    found = read_audit(tmp_path / "run")
    assert samples_of(tmp_path / "run") == {
        "limit": None,
        "read": 3 * batches,
        "batches": batches,
        "cut_off": {"limit": kind, "value": limit},
    }
    first = records(whole).filter([sample < 3 * batches for sample in records(whole)["sample"].to_pylist()])
    assert records(tmp_path / "run").equals(first)
    assert all(row["flags"][-1] == "cut-off" and row["n"] == 3 * batches for row in found.summary)
    assert [text for text in remarks(found) if text.startswith(f"Cut off by --max-{kind}")]


@pytest.mark.slow
def test_the_same_limit_gives_the_same_audit_whoever_attacks(plan: Plan, whole: Path, tmp_path: Path) -> None:
    limits = Limits(queries=taken(whole, 2).queries)
    run_audit(plan, load_target(NEEDLE), tmp_path / "here", limits=limits, threads=1)
    run_audit(plan, load_target(NEEDLE), tmp_path / "there", limits=limits, executor=Processes(2))
    assert samples_of(tmp_path / "here") == samples_of(tmp_path / "there")
    assert (tmp_path / "here" / "records.parquet").read_bytes() == (tmp_path / "there" / "records.parquet").read_bytes()


def test_it_goes_on_with_a_higher_limit_only_and_attacks_nothing_twice(
    plan: Plan, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "run", load_target(NEEDLE)
    run_audit(plan, target, folder, limits=Limits(queries=taken(whole, 1).queries))
    said: list[str] = []

    def tell(text: str, done: int, total: int) -> None:
        said.append(text)

    before = (folder / "audit.json").read_bytes()
    run_audit(plan, target, folder, tell, limits=Limits(queries=taken(whole, 1).queries))
    assert (said, (folder / "audit.json").read_bytes()) == ([], before)
    run_audit(plan, target, folder, tell, limits=Limits(queries=taken(whole, 2).queries))
    assert samples_of(folder)["read"] == 6
    run_audit(plan, target, folder, tell)
    assert samples_of(folder) == {"limit": None, "read": 9, "batches": 3}
    assert (
        sum(text.endswith(" pgd-Linf-0.2") for text in said) == 3
    )  # twice the batch that was new, once one that did not fit
    assert (folder / "records.parquet").read_bytes() == (whole / "records.parquet").read_bytes()
    assert not (folder / "shards").exists()


def test_a_limit_that_is_never_reached_changes_nothing(plan: Plan, whole: Path, tmp_path: Path) -> None:
    enough = taken(whole, 3)
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", limits=Limits(enough.queries, 3600, enough.cost))
    assert samples_of(tmp_path / "run") == samples_of(whole)
    assert (tmp_path / "run" / "records.parquet").read_bytes() == (whole / "records.parquet").read_bytes()


def test_time_that_is_up_stops_the_next_attack(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def time(self) -> float:
            return self.now

    clock = Clock()

    def tell(text: str, done: int, total: int) -> None:
        clock.now += 1.0 if " pgd" in text else 0.0

    monkeypatch.setattr(engine, "time", clock)
    monkeypatch.setattr("torpor.audits.run.limits.time", clock)
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", tell, limits=Limits(seconds=1.5))
    assert samples_of(tmp_path / "run")["cut_off"] == {"limit": "seconds", "value": 1.5}
    assert samples_of(tmp_path / "run")["read"] == 3
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", tell, limits=Limits(seconds=2.5))
    assert samples_of(tmp_path / "run") == {"limit": None, "read": 9, "batches": 3}


def test_batches_that_are_there_are_counted_however_late_it_is(plan: Plan, whole: Path, tmp_path: Path) -> None:
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", limits=Limits(queries=taken(whole, 2).queries))
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", limits=Limits(seconds=1e-9))
    assert samples_of(tmp_path / "run")["cut_off"] == {"limit": "seconds", "value": 1e-9}
    assert samples_of(tmp_path / "run")["read"] == 6


def test_a_limit_below_one_batch_is_one_sentence(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one batch of 3 samples, got --max-queries 2; allow more") as caught:
        run_audit(plan, load_target(NEEDLE), tmp_path / "run", limits=Limits(queries=2))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "audit.json").exists()


def test_what_was_learned_counts_too(plan: Plan, tmp_path: Path) -> None:
    learner = replace(plan, attacks=("deepsloth-universal",), steps=None)
    fitted = learner.attacks_at(learner.budgets[0])[0].fitted(
        load_target(NEEDLE), source(load_target(NEEDLE), plan.data_dir, None), 0
    )
    forwards = int(fitted.state()["forwards"])
    with pytest.raises(UsageError, match=f"got --max-queries {forwards - 1}"):
        run_audit(learner, load_target(NEEDLE), tmp_path / "run", limits=Limits(queries=forwards - 1))
    run_audit(learner, load_target(NEEDLE), tmp_path / "run", limits=Limits(queries=forwards))
    assert samples_of(tmp_path / "run") == {"limit": None, "read": 9, "batches": 3}  # adding it takes no pass


def test_gates_are_inconclusive_on_what_was_cut_off_unless_that_is_accepted(
    plan: Plan, whole: Path, tmp_path: Path
) -> None:
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", limits=Limits(queries=taken(whole, 2).queries))
    audit, gate = read_audit(tmp_path / "run"), parse_gate("slowdown_max < 100")
    flags = {flag for row in audit.summary for flag in row["flags"]} - {"cut-off"}
    (result,) = evaluate_gates(audit, [gate], flags)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "flagged cut-off" in result.reason
    (result,) = evaluate_gates(audit, [gate], {*flags, "cut-off"})
    assert result.verdict is Verdict.PASS
    assert "cut-off" in result.accepted
    (result,) = evaluate_gates(audit, [parse_gate("slowdown_max < 0.5")])
    assert result.verdict is Verdict.FAIL


def test_the_command_says_what_it_is_about_to_spend_and_where_it_stopped(
    plan: Plan, whole: Path, tmp_path: Path
) -> None:
    words = ["audit", NEEDLE, "--attacks", "pgd", "--eps", "0.2", "--steps", "5", "--batch-size", "3"]
    words += ["--data-dir", str(plan.data_dir), "--out", str(tmp_path / "run")]
    limit = taken(whole, 2).queries
    code, out, err = call(*words, "--max-cost", "0.1 kFLOPs")
    assert (code, "Traceback" in err) == (2, False)
    code, out, err = call(*words, "--max-queries", str(limit))
    assert code == 0, err
    said = r"About to attack 9 samples in 5 rows, up to 54 forward passes and [\d.]+ k?FLOPs, in the order of [\d.]+ s"
    assert re.search(said, err)
    assert f"Cut off by --max-queries {limit} after 6 samples: all figures are lower limits" in " ".join(out.split())
    code, out, err = call("check", tmp_path / "run", "slowdown_max < 100")
    assert code == 11
    code, _, err = call(*words, "--max-cost", "nothing")
    assert (code, "expected a cost such as 2e12" in err) == (2, True)


def test_an_estimate_counts_what_attacks_say(plan: Plan) -> None:
    target = load_target(NEEDLE)
    found = estimate(replace(plan, defenses=("bit-depth:3",)), target, source(target, plan.data_dir, None))
    assert (found.samples, found.rows, found.silent) == (9, 8, ())
    assert found.forwards == 2 * 6  # pgd on the target with and without the defense; controls take none
    assert found.cost == (found.forwards + 2 * 2 * 5) * target.prices.cost(target.static_work()).item()
    member = [passes(each) for each in load_attack("standard").members]  # type: ignore[attr-defined]
    assert passes(load_attack("standard")) == (sum(each[0] for each in member), sum(each[1] for each in member))
    assert passes(load_attack("nmtsloth-char")) == (0, 0)


@pytest.mark.parametrize(("batch_size", "limit", "most"), [(4, None, 4), (128, 3, 3), (1, None, 1)])
def test_the_speed_is_that_of_a_batch_of_the_size_used(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, batch_size: int, limit: int | None, most: int
) -> None:
    target, asked = load_target(NEEDLE), list[int]()
    run, signals = target.run, target.signals

    def told(size: int, found: Any) -> Any:  # noqa: ANN401
        asked.append(size)
        return found

    monkeypatch.setattr(target, "run", lambda inputs: told(len(inputs), run(inputs)))
    monkeypatch.setattr(target, "signals", lambda inputs: told(-len(inputs), signals(inputs)))
    plan = replace(plan, batch_size=batch_size, limit=limit)
    found = estimate(plan, target, source(target, plan.data_dir, None))
    assert asked == [1, most, most, -most, -most]
    assert found.likely == found.seconds


def test_a_pass_is_priced_at_the_static_bound_and_a_backward_pass_twice() -> None:
    target = load_target(NEEDLE)
    inputs = torch.zeros(2, 1, 4, 4)
    found = Candidates(inputs, torch.tensor([3, 1]), torch.tensor([2, 0]))
    bound = target.prices.cost(target.static_work()).item()
    assert Spent.on(target, inputs, found) == Spent(4, (3 + 2 * 2 + 1) * bound)


@pytest.mark.parametrize(("text", "value"), [("2 TFLOPs", 2e12), ("2e12", 2e12), ("3M", 3e6), ("7", 7.0)])
def test_costs_are_read(text: str, value: float) -> None:
    assert parse_cost(text) == value


@pytest.mark.parametrize("limits", [{"queries": 0}, {"seconds": -1.0}, {"cost": float("nan")}])
def test_impossible_limits_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="greater than 0"):
        Limits(**limits)


class Tokens(ToyText):
    """A target of texts that is billed by the token."""

    def price(self, units: Sequence[Unit]) -> PriceList:
        return PriceList("tokens", (1.0,) * len(units))


def test_a_cost_of_another_currency_is_refused_from_python_too() -> None:
    with pytest.raises(UsageError, match="tokens"):
        torpor.audit(Tokens(cap=20), inputs=["the cat"], max_cost="2 TFLOPs")


@pytest.mark.parametrize("cut_off", ["x", {"limit": "nothing", "value": 1}, {"limit": "queries", "value": "y"}, [1]])
def test_a_damaged_note_of_what_was_cut_off_is_no_crash(
    plan: Plan, whole: Path, tmp_path: Path, cut_off: object
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    audit = json.loads((folder / "audit.json").read_text())
    audit["samples"]["cut_off"] = cut_off
    (folder / "audit.json").write_text(json.dumps(audit))
    assert run_audit(plan, load_target(NEEDLE), folder, limits=Limits(queries=10**9)) == folder / "audit.json"
    with pytest.raises(DataError, match="cut_off"):
        read_audit(folder)


@pytest.mark.parametrize("how", ["unable", "nan", "outside"])
def test_a_network_without_a_backward_pass_has_an_estimate(digits_target: EarlyExitTarget, how: str) -> None:
    plan = Plan("sdn-digits", ("pgd:steps=2",), "Linf", (0.1,), limit=2)
    target = masked(digits_target, how)
    assert estimate(plan, target, digits_target.data(None)).seconds > 0
