"""Audits with bounds: at most so much beside what was found, and what happens to a bound that an attack beats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit_factory import write_audit
from bounds_of_toys import Windows
from toy_audits import NEEDLE, call, records, write_images
from version1_audits import CASES, FOLDER

import torpor
from torpor.audits.contradiction import EXCEEDED, BoundExceeded
from torpor.audits.integrity import doubt
from torpor.audits.read import read_audit
from torpor.core.budget import Budget
from torpor.core.records import CERTIFIED
from torpor.core.rows import UNBOUND
from torpor.targets.early_exit.toys import needle

EXACT, WRONG, LOOSE = "bounds_of_toys:Windows", "bounds_of_toys:Wrong", "bounds_of_toys:Windows:more=1"
EPS, COUNT = 0.1, 12
NAMES = [each.name for each in CERTIFIED]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("bounded") / "data", test=COUNT)


def audit(data: Path, out: Path, *more: str | Path) -> tuple[int, str, str]:
    words = ("audit", NEEDLE, "--attacks", "pgd", "--norm", "Linf", "--eps", str(EPS), "--batch-size", "5")
    return call(*words, "--data-dir", data, "--out", out, *more)


@pytest.fixture(scope="module")
def bounded(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of an audit with two bounds and a defense, and what the console said."""
    out = tmp_path_factory.mktemp("bounds") / "run"
    code, said, err = audit(data, out, "--bounds", f"static,{EXACT}", "--defenses", "bit-depth:3")
    assert code == 0, err
    return out, " ".join(said.split())


@pytest.fixture(scope="module")
def refuted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """Return the folder of an audit whose bound is wrong, the exit code, and what was said about it."""
    out = tmp_path_factory.mktemp("refuted") / "run"
    code, _, err = audit(data, out, "--bounds", f"{WRONG},static")
    return out, code, " ".join(err.split())


def rows_of(folder: Path, **wanted: object) -> list[dict[str, Any]]:
    found = [row for row in records(folder).to_pylist() if all(row[key] == value for key, value in wanted.items())]
    return sorted(found, key=lambda row: int(row["sample"]))


def exact_depth(data: Path) -> list[int]:
    """Return how many units the worst input in the budget of each sample runs."""
    toy = needle()
    inputs = toy.space.from_bytes(toy.data(data).load("test").inputs)
    return toy.worst_depth(inputs, EPS).tolist()


def test_every_sample_has_the_closed_form_worst_case_beside_what_was_found(
    bounded: tuple[Path, str], data: Path
) -> None:
    price = needle().prices.per_unit
    depth = exact_depth(data)
    assert len(set(depth)) > 1
    for attack in ("pgd", "control-noise", "control-flat", "control-shuffled"):
        rows = rows_of(bounded[0], attack=attack, defense="none")
        assert [row["certified_work"] for row in rows] == [[1] * most + [0] * (4 - most) for most in depth]
        for row, most in zip(rows, depth, strict=True):
            assert row["certified_cost"] == sum(price[:most])
            assert row["certified_slowdown"] == row["certified_cost"] / row["cost_clean"]
            assert row["cost_clean"] <= row["cost"] <= row["certified_cost"] <= row["cost_static"]
            assert row["certified_by"] == ("static" if most == 4 else EXACT)  # the first of equals
    for row in rows_of(bounded[0], attack="clean"):
        assert [row[name] for name in NAMES] == [None] * 4


def test_only_bounds_that_know_of_defenses_cover_defended_rows(bounded: tuple[Path, str]) -> None:
    rows = rows_of(bounded[0], attack="pgd", defense="bit-depth:3")
    assert len(rows) == 2 * COUNT
    assert {row["certified_by"] for row in rows} == {"static"}
    assert all(row["certified_work"] == row["work_static"] for row in rows)


def test_rows_sum_up_what_is_certified(bounded: tuple[Path, str], data: Path) -> None:
    found, depth = read_audit(bounded[0]), exact_depth(data)
    row = next(each for each in found.summary if each["attack"] == "pgd" and each["defense"] == "none")
    table = found.load_records(row=row)
    cost, most, slowdown = (table[name].to_numpy() for name in ("cost", "certified_cost", "certified_slowdown"))
    assert row["certified_cost_mean"] == pytest.approx(most.mean())
    assert row["certified_slowdown_mean"] == pytest.approx(slowdown.mean())
    assert row["certified_slowdown_p95"] == pytest.approx(np.quantile(slowdown, 0.95))
    assert row["certified_slowdown_max"] == slowdown.max()
    assert row["certified_gap"] == pytest.approx(most.sum() / cost.sum())
    assert row["certified_by"] == {"static": depth.count(4), EXACT: COUNT - depth.count(4)}
    assert row["certified_reason"] is None
    clean = found.summary[0]
    assert clean["certified_cost_mean"] is clean["certified_by"] is None
    assert "no budget" in clean["certified_reason"]
    assert found.config["bounds"] == ["static", EXACT]
    assert f"--bounds static,{EXACT}" in str(found.command)
    assert doubt(found) == ""


def test_console_report_and_gates_show_at_most_beside_found(bounded: tuple[Path, str]) -> None:
    folder, said = bounded
    row = next(each for each in read_audit(folder).summary if each["attack"] == "pgd")
    most = f"at most {row['certified_slowdown_mean']:.2f}x"
    assert most in said
    bound = f"certified bound {row['certified_slowdown_mean']:.2f}x"
    assert f"Mean slowdown found {row['slowdown_mean']:.2f}x, {bound} (by" in said
    page = (folder / "report.html").read_text()
    assert "mean slowdown, at most" in page
    assert f"{bound}, " in page
    limit = row["certified_slowdown_max"]
    for gate, code in (
        (f"@none: max(certified_slowdown) <= {limit}", 0),
        (f"@none: certified_slowdown_max < {limit}", 10),
        ("@none: mean(certified_cost) < 1GFLOPs", 0),
        ("@none: certified_gap < 0.5", 10),
        ("clean: certified_slowdown_mean < 9", 11),
    ):
        found, out, err = call("check", folder, gate)
        assert found == code, (gate, out, err)
        assert code == 11 or "certified bound" in out


def test_what_is_proven_needs_no_good_attack(tmp_path: Path) -> None:
    weak = {"flags": ["no-effect"], "certified_slowdown_mean": 1.5, "certified_cost_mean": 1.0, "certified_gap": 1.5}
    write_audit(tmp_path, edits={"deepsloth": weak})
    for gate, code in (
        ("certified_slowdown_mean < 2", 0),
        ("certified_slowdown_mean < 1", 10),
        ("certified_gap < 2", 11),  # depends on what was found
        ("slowdown_mean < 2", 11),
    ):
        assert call("check", tmp_path, f"deepsloth: {gate}")[0] == code
    weak["flags"] = ["cut-off"]
    write_audit(tmp_path, edits={"deepsloth": weak})
    assert call("check", tmp_path, "deepsloth: certified_slowdown_mean < 2")[0] == 11


def test_without_bounds_records_are_the_same_but_for_the_columns(
    bounded: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    assert audit(data, tmp_path / "run", "--defenses", "bit-depth:3")[0] == 0
    free, table = records(tmp_path / "run"), records(bounded[0])
    assert table.column_names == [*free.column_names, *NAMES]
    assert table.drop_columns(NAMES).equals(free)
    row = read_audit(tmp_path / "run").summary[1]
    assert (row["certified_cost_mean"], row["certified_reason"]) == (None, UNBOUND)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "at most over found" not in page
    for gate in ("certified_slowdown_mean < 9", "mean(certified_cost) < 1GFLOPs"):
        code, out, _ = call("check", tmp_path / "run", gate)
        assert (code, UNBOUND in out) == (11, True)


def test_another_bound_is_another_audit(bounded: tuple[Path, str], data: Path) -> None:
    before = (bounded[0] / "audit.json").read_bytes()
    for bounds in ((), ("--bounds", "static"), ("--bounds", f"{EXACT},static")):
        code, _, err = audit(data, bounded[0], "--defenses", "bit-depth:3", *bounds)
        assert code == 2
        assert "bounds" in err
    assert (bounded[0] / "audit.json").read_bytes() == before
    assert audit(data, bounded[0], "--bounds", f"static,{EXACT}", "--defenses", "bit-depth:3")[0] == 0


def test_the_tightest_of_several_counts_for_each_sample(data: Path) -> None:
    found = torpor.audit(NEEDLE, "pgd:steps=2", norm="Linf", eps=EPS, data_dir=data, bounds=[LOOSE, EXACT], timed=False)
    depth, row = exact_depth(data), found.rows[1]
    by = found.records.to_arrow(["certified_by", "certified_work"], row)
    assert [sum(counts) for counts in by["certified_work"].to_pylist()] == depth
    assert set(by["certified_by"].to_pylist()) == {LOOSE, EXACT}
    assert sum(row["certified_by"].values()) == COUNT


def test_a_bound_that_an_attack_beats_is_refused_and_nothing_is_lost(
    refuted: tuple[Path, int, str], bounded: tuple[Path, str], data: Path
) -> None:
    folder, code, err = refuted
    assert code == 2
    assert f"the bound {WRONG} is wrong: pgd Linf {EPS} costs" in err
    assert "mend it, or leave it out of --bounds" in err
    found = read_audit(folder)
    attack = found.summary[1]
    assert EXCEEDED in attack["flags"]
    assert all(row["certified_cost_mean"] is None for row in found.summary)
    assert WRONG in attack["certified_reason"]
    assert "Certified bound not measured: the bound" in " ".join((folder / "report.html").read_text().split())
    right = rows_of(bounded[0], attack="pgd", defense="none")
    assert [row["cost"] for row in rows_of(folder, attack="pgd")] == [row["cost"] for row in right]
    assert all(row["certified_work"] == [1, 0, 0, 0] for row in rows_of(folder, attack="pgd"))
    assert doubt(found) == ""
    assert call("check", folder, "pgd: slowdown_max < 1")[0] == 10
    for gate in ("certified_slowdown_mean < 99", "max(certified_cost) < 1GFLOPs"):
        code, out, _ = call("check", folder, gate)
        assert code == 11
        assert "is wrong" in out
    assert audit(data, folder, "--bounds", f"{WRONG},static")[0] == 2  # said again, not forgotten


def test_a_bound_must_hold_of_what_a_smaller_budget_found(data: Path) -> None:
    narrow = "bounds_of_toys:Narrow"
    with pytest.raises(BoundExceeded, match=f"pgd:steps=2 Linf {EPS} costs") as caught:
        torpor.audit(
            NEEDLE, "pgd:steps=2", norm="Linf", eps=[EPS, 1.5 * EPS], data_dir=data, bounds=narrow, timed=False
        )
    flagged = {row["eps"] for row in caught.value.audit.summary if EXCEEDED in row["flags"]}
    assert flagged == {1.5 * EPS}


def test_a_program_is_told_of_a_wrong_bound_and_keeps_the_audit() -> None:
    images = torch.full((2, 1, 4, 4), 128 / 255)  # these never leave early
    with pytest.raises(BoundExceeded, match="is wrong") as caught:
        torpor.audit(NEEDLE, "pgd:steps=1", eps=EPS, norm="Linf", inputs=images, bounds=WRONG, timed=False)
    assert caught.value.audit.load_records(["cost"]).num_rows == 10


@pytest.mark.parametrize("bounds", ["nothing", "static,static", "test_bounded_audits:EPS", ","])
def test_bounds_that_do_not_exist_are_refused(bounds: str, data: Path, tmp_path: Path) -> None:
    code, _, err = audit(data, tmp_path / "run", "--bounds", bounds)
    assert code == 2
    assert "expected" in err
    assert not (tmp_path / "run").exists()


def test_a_bound_of_another_kind_of_target_is_refused_before_anything_is_attacked(tmp_path: Path) -> None:
    toy, lines = "torpor.targets.decoder.toy_text:ToyText", tmp_path / "lines.txt"
    lines.write_text("who is it\n")
    words = ("audit", toy, "--attacks", "control-best-of-k,sponge-genetic", "--inputs", lines)
    code, _, err = call(*words, "--bounds", EXACT, "--out", tmp_path / "run")
    assert code == 2
    assert "got windows; see: torpor list bounds" in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_what_is_certified_has_other_prices_too(bounded: tuple[Path, str], tmp_path: Path) -> None:
    folder, units = bounded[0], read_audit(bounded[0]).units
    names = {unit["name"] for each in units.values() for unit in each}
    prices = dict.fromkeys(names, 1.0) | {units["none"][-1]["name"]: 100.0}
    (tmp_path / "prices.json").write_text(json.dumps({"name": "tokens", "prices": prices}))
    rows = rows_of(folder, attack="pgd", defense="none")
    most = [sum(n * (100 if unit == 3 else 1) for unit, n in enumerate(row["certified_work"])) for row in rows]
    mean = sum(most) / COUNT
    for gate, code in (
        (f"@none: certified_cost_mean < {mean + 0.01}tokens", 0),
        (f"@none: mean(certified_cost) < {mean - 0.01}tokens", 10),
    ):
        found, out, err = call("check", folder, gate, "--prices", tmp_path / "prices.json")
        assert found == code, (out, err)


def test_what_could_turn_around_in_another_currency_is_not_said(data: Path) -> None:
    import pyarrow as pa

    from torpor.audits.pricing.priced_rows import Prices, Side
    from torpor.audits.pricing.repriced_bounds import certified_costs, certified_keys
    from torpor.core.work import PriceList

    table = pa.table({"certified_work": [[1, 0]], "certified_cost": [10.0]})
    prices = Prices(PriceList("flops", (10.0, 5.0)), PriceList("tokens", (1.0, 5.0)))
    ran = np.array([[0, 1]])  # less in FLOPs, more in tokens
    side = Side(np.array([0]), ran, np.array([5.0]), None)
    found = certified_costs(table, np.array([1.0]), side, prices, "pgd")
    assert found == {}
    keys = certified_keys({"certified_cost_mean": 10.0}, found, np.array([5.0]))
    assert keys["certified_cost_mean"] is None
    assert "none in this currency" in keys["certified_reason"]


def test_older_audits_are_read_without_the_columns(tmp_path: Path) -> None:
    for folder in (FOLDER / next(iter(CASES)), write_audit(tmp_path)):
        assert not set(NAMES) & set(read_audit(folder).columns)
        for gate in ("certified_slowdown_mean < 9", "mean(certified_slowdown) < 9"):
            code, out, err = call("check", folder, gate)
            assert (code, UNBOUND in out) == (11, True), err


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes:2"])
def test_executors_record_the_same(executor: str, bounded: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    words = ("--bounds", f"static,{EXACT}", "--defenses", "bit-depth:3", "--executor", executor)
    code, _, err = audit(data, tmp_path / "run", *words)
    assert code == 0, err
    assert (tmp_path / "run" / "records.parquet").read_bytes() == (bounded[0] / "records.parquet").read_bytes()


def test_the_bound_of_these_tests_is_one() -> None:
    toy = needle()
    images = toy.space.from_bytes(torch.arange(0, 256, 8).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4))
    most = Windows()(toy, images, Budget("Linf", 3 / 255)).counts
    for change in range(-3, 4):
        assert (toy.run((images + change / 255).clamp(0, 1)).work.counts <= most).all()
