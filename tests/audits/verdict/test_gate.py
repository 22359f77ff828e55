from __future__ import annotations

import contextlib
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_factory import EPS, write_audit
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.audits.evidence import DEFENDED, WEAK_FLAGS, weakness
from torpor.audits.read import IncompleteAudit, SavedAudit, read_audit
from torpor.audits.verdict.gate import CheckResult, Verdict, evaluate_gates, overall
from torpor.audits.verdict.gate_grammar import AGGREGATES, OPERATORS, Gate, known, parse_gate
from torpor.core.errors import DataError, UsageError


def gate(folder: Path, text: str, *, rows_alone: bool = False) -> list[CheckResult]:
    """Evaluate a gate; ``rows_alone`` believes rows that contradict the records."""
    audit = read_audit(folder)
    return evaluate_gates(replace(audit, digests={}) if rows_alone else audit, [parse_gate(text)])


def verdicts(folder: Path, text: str, *, rows_alone: bool = False) -> list[str]:
    return [result.verdict.value for result in gate(folder, text, rows_alone=rows_alone)]


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    aggregate = draw(st.none() | st.sampled_from(AGGREGATES))
    metrics = known().at("row" if aggregate is None else "sample")
    metric = draw(st.sampled_from([each for each in metrics.values() if each.numeric]))
    units = Gate("", "<", 0, dimension=metric.dimension).units
    return Gate(
        metric.name,
        draw(st.sampled_from(sorted(OPERATORS))),
        draw(st.floats(-1e200, 1e200)),
        draw(st.sampled_from(sorted(units))),
        aggregate,
        draw(st.none() | st.from_regex(r"[a-z0-9][a-z0-9_.+/-]{0,12}", fullmatch=True)),
        draw(st.none() | st.sampled_from(["none", "jpeg:75", "deadline:0.5", "jpeg:75+svm:0.05+steps"])),
        metric.dimension,
    )


@given(gates())
def test_parse_inverts_str(wanted: Gate) -> None:
    assert parse_gate(str(wanted)) == wanted
    assert parse_gate(f"  {wanted}\t") == wanted
    assert parse_gate(re.sub(r"\s", "", str(wanted))) == wanted


@given(st.text(max_size=40))
def test_any_text_parses_or_is_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parsed = parse_gate(text)
        assert parse_gate(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("p95(slowdown) < 115%", 1.15),
        ("p95(slowdown) < 2x", 2.0),
        ("mean(flops) < 20MFLOPs", 2e7),
        ("latency_s_p50<10ms", 0.01),
        ("attack_seconds < 3us", 3e-6),
        ("energy_j <= 5 mJ", 0.005),
        ("memory_bytes < 1.5KiB", 1536.0),
        ("max(exit) == 3", 3.0),
        ("efficacy_step > -1e-1", -0.1),
    ],
)
def test_limits_are_in_the_metrics_own_unit(text: str, limit: float) -> None:
    assert parse_gate(text).limit == limit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a gate such as"),
        ("mean(slowdown)", "expected a gate such as"),
        ("mean(slowdown) < 1 2", "expected a gate such as"),
        ("mean(slowdown) < 1 and mean(slowdown) > 0", "expected a gate such as"),
        ("mean(slowdown) < 1e999", "expected a finite limit"),
        ("mean(slowdwn) < 1", "did you mean slowdown?"),
        ("mean(work) < 1", "expected a per-sample metric, got 'work'"),
        ("p42(slowdown) < 1", "expected an aggregate of mean, p50"),
        ("slowdown < 1", "write mean(slowdown)"),
        ("slowdown_ci95 < 1", "expected a summary metric, got 'slowdown_ci95'"),
        ("latency_p50 < 1ms", "did you mean latency_s_p50?"),
        ("latency_s_p50 < 1", "expected s, ms, us for latency_s_p50, got none"),
        ("mean(slowdown) < 2ms", "expected no unit, x, % for mean(slowdown), got 'ms'"),
        ("mean(flops) < 2Mflops", "did you mean MFLOPs?"),
    ],
)
def test_false_gates_are_usage_errors_that_say_what_is_known(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        parse_gate(text)
    assert "\n" not in str(caught.value)


def test_a_gate_holds_for_every_attack_but_not_for_controls(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    assert verdicts(folder, "max(slowdown) <= 2") == ["pass", "pass"]
    results = gate(folder, "max(slowdown) < 2x")
    assert [result.verdict for result in results] == [Verdict.FAIL, Verdict.PASS]
    assert (results[0].row, results[0].shown, results[0].limit) == ("deepsloth, Linf 8/255", "2x", "< 2x")
    assert results[0].tags["owasp"] == ("LLM06:2026",)
    assert overall(results) is Verdict.FAIL
    assert verdicts(folder, "mean(slowdown) > 1") == ["pass", "pass"]  # the control's is 1


def test_selectors_pick_rows_of_any_kind(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    assert verdicts(folder, "noise-search: max(slowdown) < 1.5") == ["pass"]
    assert verdicts(folder, "clean: mean(flops) == 1 MFLOPs") == ["pass"]
    assert verdicts(folder, "control-noise: max(slowdown) == 1") == ["pass"]
    (missing,) = gate(folder, "deepslot: max(slowdown) < 9")
    assert missing.verdict is Verdict.INCONCLUSIVE
    assert "deepsloth" in missing.reason


def test_a_gate_names_the_defense_that_it_is_about(tmp_path: Path) -> None:
    folder = write_audit(tmp_path, edits={"noise-search": {"defense": "jpeg:75", "attacker": "adaptive"}})
    assert verdicts(folder, "slowdown_mean < 9", rows_alone=True) == ["pass", "pass"]
    assert [result.row for result in gate(folder, "@none: slowdown_mean < 9", rows_alone=True)] == [
        "deepsloth, Linf 8/255"
    ]
    (defended,) = gate(folder, "@jpeg:75: slowdown_mean < 9", rows_alone=True)
    assert defended.row == "noise-search, Linf 8/255, against jpeg:75, adaptive"
    (missing,) = gate(folder, "deepsloth@jpeg:75: slowdown_mean < 9", rows_alone=True)
    assert missing.verdict is Verdict.INCONCLUSIVE
    assert "noise-search@jpeg:75" in missing.reason


def test_no_effect_on_a_defended_target_is_evidence_if_there_was_one_without_the_defense(tmp_path: Path) -> None:
    defended = {"defense": "jpeg:75", "attacker": "adaptive", "attack": "deepsloth", "flags": ["no-effect"]}
    folder = write_audit(tmp_path / "works", edits={"noise-search": defended})
    assert verdicts(folder, "@jpeg:75: slowdown_mean < 9", rows_alone=True) == ["pass"]
    folder = write_audit(tmp_path / "lame", edits={"noise-search": defended, "deepsloth": {"flags": ["no-effect"]}})
    (result,) = gate(folder, "@jpeg:75: slowdown_mean < 9", rows_alone=True)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "with or without the defense, is flagged no-effect" in result.reason
    dead = {**defended, "flags": ["dead-gradients"]}
    folder = write_audit(tmp_path / "dead", edits={"noise-search": dead})
    assert verdicts(folder, "@jpeg:75: slowdown_mean < 9", rows_alone=True) == ["inconclusive"]


def test_records_are_those_of_the_rows_budget(tmp_path: Path) -> None:
    folder = write_audit(tmp_path / "one")
    other = write_audit(tmp_path / "two", {"deepsloth": (9.0, 9.0, 9.0, 9.0)})
    table = pq.read_table(other / "records.parquet")
    eps = table.column_names.index("eps")
    doubled = table.set_column(eps, "eps", [[None if e is None else 2 * e for e in table.column("eps").to_pylist()]])
    first = pq.read_table(folder / "records.parquet")
    pq.write_table(pa.concat_tables([first, doubled.cast(first.schema)]), folder / "records.parquet")
    audit = read_audit(folder)
    row = next(row for row in audit.summary if row["attack"] == "deepsloth")
    assert audit.load_records(["slowdown"], row).column(0).to_pylist() == [1.0, 1.2, 1.4, 2.0]
    wider = {**row, "eps": float(np.float32(2 * EPS))}
    assert audit.load_records(["slowdown"], wider).column(0).to_pylist() == [9.0] * 4
    assert audit.load_records(["slowdown"]).num_rows == first.num_rows + doubled.num_rows


def test_summary_keys_and_booleans(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    assert verdicts(folder, "efficacy_step >= 50%") == ["pass", "pass"]
    assert verdicts(folder, "latency_s_p50 < 7ms") == ["fail", "fail"]
    assert verdicts(folder, "deepsloth: mean(agreement) == 75%") == ["pass"]


@pytest.mark.parametrize(
    ("edit", "text", "words"),
    [
        ({}, "energy_j < 1J", "no energy meter on this device"),
        ({"slowdown_mean": float("nan")}, "slowdown_mean < 9", "slowdown_mean was not measured"),
        ({"latency_valid": None}, "latency_s_p50 < 10ms", "latency is not valid"),
        ({"latency_valid": False, "latency_reason": "spread"}, "latency_slowdown < 9", "not valid: spread"),
        ({"latency_valid": False}, "latency_slowdown < 1", "latency is not valid"),  # not even a fail
        ({"flags": ["dead-gradients"]}, "max(slowdown) < 9", "dead-gradients"),
        ({"flags": ["budget-unused"]}, "slowdown_max < 9", "budget-unused"),
        ({"n": 5}, "max(slowdown) < 9", "the records hold 4 of 5 samples"),
        ({"n": 5}, "max(slowdown) < 1", "the records hold 4 of 5 samples"),
    ],
)
def test_inconclusive(tmp_path: Path, edit: dict[str, object], text: str, words: str) -> None:
    write_audit(tmp_path, edits={"deepsloth": edit})
    (result,) = gate(tmp_path, f"deepsloth: {text}")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert words in result.reason


def test_flags_that_spoil_a_pass_leave_a_fail_alone(tmp_path: Path) -> None:
    write_audit(tmp_path, edits={"deepsloth": {"flags": ["dead-gradients"]}})
    assert verdicts(tmp_path, "max(slowdown) < 1.05") == ["fail", "fail"]
    write_audit(tmp_path, edits={"deepsloth": {"flags": ["cap-reached-by-chance"]}})
    assert verdicts(tmp_path, "max(slowdown) < 3") == ["pass", "pass"]
    assert gate(tmp_path, "max(slowdown) < 3")[0].notes == (
        "cap-reached-by-chance: a control of the same budget reaches the cap too",
    )


@pytest.mark.parametrize("flag", WEAK_FLAGS)
def test_a_weak_flag_spoils_a_pass_unless_it_is_accepted_by_name(tmp_path: Path, flag: str) -> None:
    audit = read_audit(write_audit(tmp_path, edits={"deepsloth": {"flags": [flag]}}))
    gates = [parse_gate("max(slowdown) < 3")]
    assert [found.verdict.value for found in evaluate_gates(audit, gates)] == ["inconclusive", "pass"]
    others = [name for name in WEAK_FLAGS if name != flag]
    assert evaluate_gates(audit, gates, others)[0].verdict is Verdict.INCONCLUSIVE
    flagged, sound = evaluate_gates(audit, gates, [flag, "no-effect"])
    assert (flagged.verdict, flagged.accepted, flagged.reason) == (Verdict.PASS, (flag,), "")
    assert (sound.verdict, sound.accepted) == (Verdict.PASS, ())
    (failed, _) = evaluate_gates(audit, [parse_gate("max(slowdown) < 1.05")], [flag])
    assert (failed.verdict, failed.accepted) == (Verdict.FAIL, ())


@pytest.mark.parametrize("flag", WEAK_FLAGS)
def test_which_flags_of_a_defended_row_count(flag: str) -> None:
    """An attack without effect is what a defense is for; an attack without a gradient shows nothing."""
    free = {"attack": "deepsloth", "norm": "Linf", "eps": 8 / 255, "defense": "none", "flags": list[str]()}
    defended = {**free, "defense": "jpeg:75", "attacker": "adaptive"}
    assert bool(weakness({**defended, "flags": [flag]}, [free])) == (flag in DEFENDED)
    assert flag in weakness(defended, [{**free, "flags": [flag]}])


def test_the_share_of_samples_at_the_cap_is_said(tmp_path: Path) -> None:
    folder = write_audit(tmp_path, edits={"deepsloth": {"no_headroom_rate": 0.25}})
    (result,) = gate(folder, "deepsloth: max(slowdown) < 3")
    assert result.verdict is Verdict.PASS
    assert "25.0 % of the clean inputs are at the cap" in result.notes[0]


def test_samples_without_headroom_are_left_out(tmp_path: Path) -> None:
    folder = write_audit(tmp_path / "some", no_headroom={0, 1})
    (result,) = gate(folder, "deepsloth: mean(headroom) < 50%")
    assert result.value == pytest.approx((0.4 / 3 + 1.0 / 3) / 2)
    none = write_audit(tmp_path / "none", no_headroom={0, 1, 2, 3})
    assert verdicts(none, "mean(headroom) < 50%") == ["inconclusive"] * 2


def test_other_missing_values_are_inconclusive(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    table = pq.read_table(folder / "records.parquet")
    values = table.column("slowdown").to_pylist()
    holed = table.set_column(table.column_names.index("slowdown"), "slowdown", [[None, *values[1:-4], *[np.nan] * 4]])
    pq.write_table(holed, folder / "records.parquet")
    assert verdicts(folder, "clean: mean(slowdown) > 5") == ["inconclusive"]
    assert verdicts(folder, "control-noise: mean(slowdown) > 5") == ["inconclusive"]
    assert verdicts(folder, "deepsloth: mean(slowdown) > 5") == ["fail"]


def test_an_audit_without_attacks_is_inconclusive() -> None:
    audit = SavedAudit(Path("run"), {}, {"name": "toy"}, {}, None, [{"attack": "clean", "kind": "clean", "n": 2}])
    assert overall(evaluate_gates(audit, [parse_gate("mean(slowdown) < 9")])) is Verdict.INCONCLUSIVE


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1.0, 50.0), min_size=2, max_size=30), st.sampled_from(AGGREGATES))
def test_aggregates_equal_numpy_on_the_raw_column(slowdowns: list[float], aggregate: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_audit(Path(name), {"deepsloth": slowdowns})
        raw = pq.read_table(folder / "records.parquet").to_pylist()
        column = np.array([row["slowdown"] for row in raw if row["attack"] == "deepsloth"], dtype=np.float64)
        want = np.percentile(column, int(aggregate[1:])) if aggregate[0] == "p" else getattr(np, aggregate)(column)
        (result,) = gate(folder, f"{aggregate}(slowdown) <= {float(want)!r}")
    assert result.value == want
    assert result.verdict is Verdict.PASS


def test_folders_that_are_no_finished_audit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        read_audit(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"no audit\.json"):
        read_audit(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(IncompleteAudit, match="interrupted"):
        read_audit(tmp_path)
    for text in ("{", "[]", '{"schema": "torpor.audit/2"}', "\udcff"):
        (tmp_path / "audit.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(UsageError, match="expected"):
            read_audit(tmp_path)
    assert not issubclass(IncompleteAudit, UsageError)


@pytest.mark.parametrize(
    ("key", "value"),
    [("config", []), ("target", {}), ("environment", None), ("natural", 3), ("summary", {}), ("summary", [{}])],
)
def test_parts_of_the_wrong_kind_are_data_errors(tmp_path: Path, key: str, value: object) -> None:
    write_audit(tmp_path)
    raw = json.loads((tmp_path / "audit.json").read_text())
    (tmp_path / "audit.json").write_text(json.dumps({**raw, key: value}))
    with pytest.raises(DataError, match="expected"):
        read_audit(tmp_path)


def test_missing_or_corrupt_records_are_data_errors(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    with pytest.raises(DataError, match="expected column 'l2'"):
        gate(folder, "max(l2) < 1")
    (folder / "records.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match="expected readable records"):
        gate(folder, "max(slowdown) < 1")
    (folder / "records.parquet").unlink()
    with pytest.raises(DataError, match="no such file"):
        gate(folder, "max(slowdown) < 1")
    assert verdicts(folder, "slowdown_max <= 2") == ["inconclusive"] * 2  # the summary is there, its evidence is not
    assert verdicts(folder, "slowdown_max <= 1") == ["fail"] * 2


@pytest.mark.parametrize(
    "edit",
    [
        {"headroom_mean": None},
        {"steps_clean_mean": 20.0, "cap": 20},
        {"flags": ["nothing-to-measure"], "no_headroom_rate": 1.0},
    ],
)
def test_a_pass_on_nothing_measured_is_inconclusive(tmp_path: Path, edit: dict[str, object]) -> None:
    """Also in audits that were written before there was a flag for it."""
    folder = write_audit(tmp_path, edits={"deepsloth": edit})
    for text in ("max(slowdown) < 9", "slowdown_max <= 2", "mean(flops) < 1GFLOPs", "utility > 10%"):
        (result,) = gate(folder, f"deepsloth: {text}")
        assert (result.verdict, "nothing-to-measure" in result.reason) == (Verdict.INCONCLUSIVE, True)
    assert verdicts(folder, "deepsloth: max(slowdown) < 1.5") == ["fail"]
    assert verdicts(folder, "clean: mean(flops) <= 1 MFLOPs") == ["pass"]
