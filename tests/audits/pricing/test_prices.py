"""Audits under prices that were chosen after them, against sums by hand."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_factory import write_audit
from toy_audits import snapshot
from typing_extensions import override
from version1_audits import CASES, FOLDER

from torpor.audits.conditions import RowKey
from torpor.audits.integrity import remarks
from torpor.audits.pricing.price_files import PriceFile, read_price_file
from torpor.audits.pricing.prices import PRICES, load_prices, read_priced
from torpor.audits.pricing.repriced import COLUMNS, repriced
from torpor.audits.pricing.repriced_keys import may_depend
from torpor.audits.read import SavedAudit, read_audit
from torpor.audits.run.engine import run_audit
from torpor.audits.verdict.baseline import compare_baseline
from torpor.audits.verdict.gate import evaluate_gates
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.core.errors import DataError, UsageError
from torpor.core.measures import Measure
from torpor.core.pricing import Pricing
from torpor.core.work import PriceList
from torpor.targets.resolve import load_target

pytestmark = pytest.mark.slow

DEFENDED = ("windows", "texts", "lamps")
"""Toy audits with defenses, one of each family."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run the plans of version 1 anew, without the long search: what is tested is how costs are summed."""
    found = {}
    for name, (plan, write) in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            write(folder)
            quick = replace(plan, attacks=tuple(each for each in plan.attacks if each != "standard") or ("pgd",))
            run_audit(quick, load_target(plan.target), folder / "run")
        found[name] = folder / "run"
    return found


def uneven(audit: SavedAudit) -> PriceFile:
    """Return prices in seconds that have no common factor."""
    names = dict.fromkeys(unit["name"] for units in audit.units.values() for unit in units)
    prices = {name: 1e-3 * np.sqrt(2 + place) for place, name in enumerate(names)}
    return PriceFile("seconds on a toy", prices, "2026-11-28", "a test")


def by_hand(audit: SavedAudit, prices: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return for each summary row what its samples cost, from the records of the run, with plain loops."""
    records = audit.load_records().to_pylist()

    def cost(record: Mapping[str, Any], column: str) -> float:
        units = audit.units[record["defense"]]
        return math.fsum(count * prices[unit["name"]] for count, unit in zip(record[column], units, strict=True))

    clean = {(each["defense"], each["sample"]): each for each in records if each["attack"] == "clean"}
    rows = []
    for row in audit.summary:
        same = ("attack", "defense", "attacker", "norm", "eps")
        own = [each for each in records if all(each[key] == row[key] for key in same)]
        found: dict[str, Any] = {"cost": [], "clean": [], "own": [], "static": [], "headroom": [], "met": []}
        for each in own:
            paired, bare = clean[each["defense"], each["sample"]], clean["none", each["sample"]]
            now, before, most = cost(each, "work"), cost(paired, "work"), cost(each, "work_static")
            found["cost"].append(now)
            found["clean"].append(cost(bare, "work"))
            found["own"].append(before)
            found["static"].append(most)
            found["headroom"].append((now - before) / (most - before) if most - before > 1e-9 * most else None)
            found["met"].append(
                now >= 2 * before and (row["success_criterion"] == "slowdown >= 2" or each["agreement"])
            )
        rows.append(found)
    return rows


@pytest.mark.parametrize("name", CASES)
def test_the_prices_of_the_run_give_back_what_it_wrote_to_the_last_bit(name: str, runs: dict[str, Path]) -> None:
    audit = read_audit(runs[name])
    again = repriced(audit, load_prices("flops"))
    assert again.load_records().to_pylist() == audit.load_records().to_pylist()
    assert [dict(row) for row in again.summary] == [dict(row) for row in audit.summary]
    assert (again.units, again.currency) == (audit.units, audit.currency)
    assert (again.target, again.natural) == (audit.target, audit.natural)
    assert not any("lower limits" in note for note in again.notes)


@pytest.mark.parametrize("name", CASES)
def test_other_prices_are_those_of_sums_by_hand(name: str, runs: dict[str, Path]) -> None:
    audit = read_audit(runs[name])
    prices = uneven(audit)
    found = repriced(audit, prices)
    assert found.currency == "seconds"
    for row, was, hand in zip(found.summary, audit.summary, by_hand(audit, prices.prices), strict=True):
        table = found.load_records(list(COLUMNS), row)
        for column, values in (
            ("cost", "cost"),
            ("cost_clean", "clean"),
            ("cost_own", "own"),
            ("cost_static", "static"),
        ):
            assert table[column].to_pylist() == pytest.approx(hand[values], rel=1e-12)
        slowdown = np.array(hand["cost"]) / np.array(hand["clean"])
        assert table["slowdown"].to_pylist() == pytest.approx(slowdown.tolist(), rel=1e-12)
        assert row["slowdown_mean"] == pytest.approx(slowdown.mean(), rel=1e-12)
        assert row["slowdown_p95"] == pytest.approx(np.quantile(slowdown, 0.95), rel=1e-12)
        assert row["cost_mean"] == pytest.approx(np.mean(hand["cost"]), rel=1e-12)
        assert row["cost_static"] == pytest.approx(max(hand["static"]), rel=1e-12)
        assert table["headroom"].to_pylist() == pytest.approx(hand["headroom"], abs=1e-9)
        assert row["success_rate"] == np.mean(hand["met"])
        assert row["utility"] == was["utility"]


def test_stages_and_efficacy_follow_from_counts(runs: dict[str, Path]) -> None:
    audit = read_audit(runs["followed"])
    prices = uneven(audit)
    for row in repriced(audit, prices).summary:
        stages: dict[str, float] = {}
        for unit in audit.units["none"]:
            cost = row["units_mean"][unit["name"]] * prices.prices[unit["name"]]
            stages[unit["stage"]] = stages.get(unit["stage"], 0.0) + cost
        assert row["stage_cost_mean"] == pytest.approx(stages, rel=1e-12)
        assert sum(stages.values()) == pytest.approx(row["cost_mean"], rel=1e-12)
    nets = read_audit(runs["windows"])
    prices = uneven(nets)
    found = repriced(nets, prices)
    whole = sum(prices.prices[unit["name"]] for unit in nets.units["none"])
    for row in found.summary:
        if row["defense"] == "none":
            assert row["efficacy_step"] == pytest.approx(1 - row["cost_mean"] / whole, rel=1e-12)
    assert found.target["exit_costs"][-1] == 1
    assert found.target["static_cost"] == pytest.approx(whole)


def test_nothing_in_the_folder_changes_and_reports_say_what_they_show(runs: dict[str, Path]) -> None:
    audit = read_audit(runs["lamps"])
    before = snapshot(audit.folder)
    found = repriced(audit, uneven(audit))
    assert snapshot(audit.folder) == before
    said = " ".join(remarks(found))
    assert "seconds on a toy (2026-11-28, a test)" in said
    assert "expensive in FLOPs" in said
    assert found.natural is None or found.natural["slowdown_p999"] is None
    assert not any("Not to be relied on" in remark for remark in remarks(found))


def test_gates_and_baselines_are_in_the_currency_of_the_prices(runs: dict[str, Path]) -> None:
    audit = read_audit(runs["texts"])
    found = repriced(audit, uneven(audit))
    row = next(row for row in found.summary if row["kind"] == "attack" and row["defense"] == "none")
    gate = parse_gate(f"{row['attack']}@none: mean(cost) < 1ms", found.catalog, found.currency)
    result = evaluate_gates(found, [gate])[0]
    assert result.value == pytest.approx(row["cost_mean"])
    assert result.shown == f"{1e3 * row['cost_mean']:.6g} ms"
    assert all(each.verdict.value != "fail" for each in compare_baseline(found, found))
    with pytest.raises(UsageError, match="got 'MFLOPs'"):
        parse_gate("clean: mean(cost) < 20MFLOPs", found.catalog, found.currency)


def test_an_attack_without_effect_in_this_currency_is_flagged(runs: dict[str, Path]) -> None:
    audit = read_audit(runs["lamps"])
    names = [unit["name"] for unit in audit.units["none"]]
    only = PriceFile("calls", {name: float(name == "backbone") for name in names})
    found = repriced(audit, only)
    for was, row in zip(audit.summary, found.summary, strict=True):
        assert row["slowdown_max"] == 1
        assert row["headroom_mean"] is None
        if row["kind"] == "attack" and row["attacker"] != "non-adaptive":
            assert row["flags"][0] == "no-effect"
            assert "no-effect" not in was["flags"]
    gate = parse_gate("overload@none: mean(slowdown) < 2", found.catalog, found.currency)
    assert evaluate_gates(found, [gate])[0].verdict.value == "inconclusive"


@pytest.mark.parametrize("name", ["windows-l2", "lamps", "followed"])
def test_version_1_has_costs_but_no_bound(name: str, runs: dict[str, Path]) -> None:
    if name == "lamps":
        assert read_audit(FOLDER / name).config["defenses"]  # one that adds no unit
    old, new = read_audit(FOLDER / name), read_audit(runs[name])
    prices = uneven(new)
    found, wanted = repriced(old, prices), repriced(new, prices)
    assert found.load_records(["headroom", "cost_static"])["headroom"].null_count == len(found.load_records(["sample"]))
    for row, beside in zip(found.summary, wanted.summary, strict=True):
        if row["attack"] == "clean":
            assert row["cost_mean"] == beside["cost_mean"]
        assert row["cost_static"] is None
        assert "headroom_mean" not in row
        assert "older torpor" in row["headroom_reason"]
    assert any("static bound and the headroom are not known" in note for note in found.notes)


@pytest.mark.parametrize("name", ["windows", "texts", "digits"])
def test_version_1_does_not_name_the_units_of_defenses(name: str) -> None:
    with pytest.raises(DataError, match="records the units of each defense"):
        repriced(read_audit(FOLDER / name), load_prices("flops"))


def test_counts_that_do_not_explain_the_cost_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["lamps"], tmp_path / "run")
    raw = json.loads((tmp_path / "run" / "audit.json").read_text())
    raw["units"]["none"][1]["price"] += 1
    (tmp_path / "run" / "audit.json").write_text(json.dumps(raw))
    with pytest.raises(DataError, match="counts that explain the cost in the records of clean"):
        repriced(read_audit(tmp_path / "run"), load_prices("flops"))
    with pytest.raises(DataError, match="expected the units of toy"):
        repriced(read_audit(write_audit(tmp_path / "old")), load_prices("flops"))


def test_a_bound_that_holds_in_flops_alone_is_none_in_another_currency(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["windows-l2"], tmp_path / "run")
    path = tmp_path / "run" / "records.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("work_static")
    assert table["work_static"].to_pylist() == [[1, 1, 1]] * len(table)  # each costs the same
    other = pa.array([[3, 0, 0]] * len(table), table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), other), path, write_page_checksum=True)
    audit = read_audit(tmp_path / "run")
    found = repriced(audit, uneven(audit))
    assert found.load_records(["cost_static"])["cost_static"].null_count == len(table)
    assert all("more often than the static bound counts it" in row["headroom_reason"] for row in found.summary)
    assert all(row["success_rate"] is not None for row in found.summary)


def test_what_a_stranger_measures_is_not_carried_over() -> None:
    share = Measure("layer_efficacy", "row", "ratio", "efficacy", "Cost spared.")
    count = Measure("layers_mean", "row", "count", "layers", "Layers that ran.")
    assert (may_depend(share), may_depend(count)) == (True, False)


WRONG = {
    'name = "seconds"\nunits = 3\n[prices]\na = 1': "got 'units'; remove it",
    'name = "seconds"\n': "add [prices]",
    "[prices]\na = 1": "a name that starts with a currency",
    'name = "../x"\n[prices]\na = 1': "a name that starts with a currency",
    'name = "seconds"\n[prices]\na = -1': "of 0 or more for a",
    'name = "seconds"\n[prices]\na = nan': "got nan",
    'name = "seconds"\n[prices]\na = inf': "got inf",
    'name = "seconds"\n[prices]\na = true': "got True",
    'name = "seconds"\n[prices]\na = "1"': "got '1'",
    'name = "seconds"\nname = "joules"': "expected a price file",
}


@pytest.mark.parametrize("text", WRONG)
def test_price_files_that_say_something_else_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(DataError, match=re.escape(WRONG[text])) as caught:
        read_price_file(tmp_path / "prices.toml")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_and_toml_say_the_same(tmp_path: Path) -> None:
    content = {"name": "seconds on 2-core CPU", "date": "2026-11-28", "prices": {"backbone": 1e-3, "extra": 0}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "a.toml").write_text(
        'name = "seconds on 2-core CPU"\ndate = 2026-11-28\n[prices]\nbackbone = 1e-3\nextra = 0\n'
    )
    one, other = (read_price_file(tmp_path / name) for name in ("a.json", "a.toml"))
    assert (one.name, one.prices, one.origin) == (other.name, other.prices, other.origin)
    (tmp_path / "a.json").write_text('{"name": "seconds", "prices": {"a": 1, "a": 2}}')
    with pytest.raises(DataError, match="'a' twice"):
        read_price_file(tmp_path / "a.json")
    with pytest.raises(UsageError, match=r"prices of backbone, nms_pair, got none of nms_pair in .*a\.toml; add it"):
        other.price_list(["backbone", "nms_pair"], PriceList("flops", (1.0, 1.0)))


@dataclass(frozen=True)
class Bill(Pricing):
    """Dollars by the FLOP, as a plug-in may have them."""

    each: float = 1.0

    @override
    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        return PriceList("dollars by the FLOP", tuple(self.each * price for price in own.per_unit))


def test_names_files_and_classes_are_found(runs: dict[str, Path], tmp_path: Path) -> None:
    assert PRICES.names()[0] == "flops"
    with pytest.raises(UsageError, match="did you mean flops"):
        load_prices("flop")
    with pytest.raises(DataError, match="No such file"):
        load_prices(str(tmp_path / "none.toml"))
    audit = read_audit(runs["digits"])
    found = read_priced(runs["digits"], f"{Bill.__module__}:Bill:each=1e-9")
    assert found.currency == "dollars"
    for row, was in zip(found.summary, audit.summary, strict=True):
        assert row["cost_mean"] == pytest.approx(1e-9 * was["cost_mean"])
        assert row["headroom_mean"] == pytest.approx(was["headroom_mean"], abs=1e-9)
        assert RowKey.of(row) == RowKey.of(was)
    seconds = repriced(audit, uneven(audit))
    with pytest.raises(UsageError, match="expected an audit that counted FLOPs, got one in seconds"):
        load_prices("flops").price_list(["exit0"], PriceList(seconds.currency, (1.0,)))


def test_prices_under_which_clean_inputs_cost_nothing_are_refused(runs: dict[str, Path]) -> None:
    audit = read_audit(runs["lamps"])
    free = PriceFile("tokens", dict.fromkeys((unit["name"] for unit in audit.units["none"]), 0.0))
    with pytest.raises(UsageError, match="price every unit that a clean run needs"):
        repriced(audit, free)
