"""The study on toys: every cell is filled or explained, and a killed one goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from toy_audits import NEEDLE, call, records, write_images

from torpor.defenses.registry import load_defense
from torpor.reports.kit.words import percent, times
from torpor.study import run
from torpor.study.cases import Case, Scale, Size, cases
from torpor.study.page import write_pages
from torpor.study.tables import case_table

SIZES = {Scale.SMOKE: Size(24, 10, 20)}
DEFENSES = ("bit-depth:3", "bit-depth:3+trace", "steps")
TOYS = (
    Case(
        "toy",
        "ResNet56",
        NEEDLE,
        "deepsloth",
        "Linf",
        ("bit-depth:3", "bit-depth:3+trace", "steps"),
        ("trace",),
        SIZES,
        "toys",
    ),
    Case("long", "", NEEDLE, "deepsloth", "Linf", ("bit-depth:3",), ("trace",), {Scale.FULL: Size(24, 10, 20)}, "toys"),
    Case("absent", "", NEEDLE, "deepsloth", "Linf", ("bit-depth:3",), ("trace",), SIZES, "nowhere"),
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_images(tmp_path / "data" / "toys", test=24, train=600)
    monkeypatch.setattr(run, "cases", lambda: TOYS)
    return tmp_path / "data"


def test_every_cell_is_filled_or_explained(data: Path, tmp_path: Path) -> None:
    code, said, err = call("study", "--data-dir", data, "--out", tmp_path / "study")
    assert (code, err) == (0, "")
    assert "study.html" in said
    text = (tmp_path / "study" / "study.md").read_text(encoding="utf-8")
    for defense in ("none", "bit-depth:3", "bit-depth:3+trace"):
        assert f"| {defense} | " in text
    assert "| toy | steps | expected a defense for early exit" in text
    assert "| absent | all | expected a folder nowhere, got none in" in text
    assert "| long | all | no part of --scale smoke |" in text
    assert "82.7 %" in text  # theirs, beside ours
    assert "torpor study --scale smoke" in text
    html = (tmp_path / "study" / "study.html").read_text(encoding="utf-8")
    assert html.count("<table>") == 3
    own = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "://" not in own


def test_tables_say_what_the_audit_says(data: Path, tmp_path: Path) -> None:
    (result, *_) = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    assert result.audit is not None
    table = case_table(result, {"detectors": {}, "cells": {}, "loops": {}, "tracking": {}})
    assert table is not None
    by_defense = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    for row in result.audit["summary"]:
        if row["kind"] == "control":
            continue
        said = by_defense[row["defense"]]
        who = "clean" if row["kind"] == "clean" else row["attacker"] or "non-adaptive"
        heads = ("clean slowdown", "clean accuracy") if who == "clean" else (f"{who}: slowdown", f"{who}: accuracy")
        assert said[heads[0]].startswith(times(row["slowdown_mean"]))
        assert said[heads[1]] == percent(row["utility"])
    costlier, right = result.caught["bit-depth:3+trace"]
    table_rows = records(tmp_path / "study" / "toy").to_pylist()
    free = [row for row in table_rows if row["attack"] == "deepsloth" and row["defense"] == "none"]
    assert costlier == sum(row["slowdown"] > 1 for row in free) > 0
    kind = ("clean", "bit-depth:3+trace")
    wrong = next(row["rejected_rate"] for row in result.audit["summary"] if (row["attack"], row["defense"]) == kind)
    assert (
        by_defense["bit-depth:3+trace"]["balanced accuracy at 5 % FPR"]
        == f"{percent((right + 1 - wrong) / 2)} ({costlier})"
    )


def test_a_detector_that_cannot_be_judged_loses_no_audit(data: Path, tmp_path: Path) -> None:
    write_images(data / "toys", test=3, train=600)
    (result, *_) = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    assert result.audit is not None
    assert result.detectors is None
    assert "expected 20 samples in split 'test'" in result.missing["detectors"]


def test_a_detector_that_cannot_be_fitted_takes_nothing_with_it(data: Path, tmp_path: Path) -> None:
    write_images(data / "toys", test=24, train=100)  # 5 validation inputs promise no rate
    (result, *_) = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    assert result.audit is not None
    assert {row["defense"] for row in result.audit["summary"]} == {"none", "bit-depth:3"}
    assert "expected 19 clean inputs or more" in result.missing["bit-depth:3+trace"]


def test_what_is_there_stays_when_more_could_be_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(run, "load_defense", lambda name: load_defense("steps" if "+" in name else name))
        (first, *_) = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    assert "bit-depth:3+trace" in first.missing
    (again, *_) = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    assert again.audit == first.audit
    assert "pass another --out" in again.missing[""]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--limit", "-3", "limit of 1 or more"), ("--seed", "-1", "seed"), ("--data-dir", "nowhere", "folder of data")],
)
def test_mistakes_are_told_before_anything_is_written(option: str, value: str, said: str, tmp_path: Path) -> None:
    code, _, err = call("study", option, value, "--out", tmp_path / "study")
    assert code == 2
    assert said in err
    assert not (tmp_path / "study").exists()


def test_what_is_done_is_not_run_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    pages = [path.read_text(encoding="utf-8") for path in write_pages(first, tmp_path / "study", "command")]
    monkeypatch.setattr(run, "evaluate_detectors", None)
    again = run.run_study(data, tmp_path / "study", Scale.SMOKE)
    assert [path.read_text(encoding="utf-8") for path in write_pages(again, tmp_path / "study", "command")] == pages


def test_cases_cover_what_the_study_evaluates() -> None:
    found = cases()
    assert len({case.name for case in found}) == len(found)
    behaviors = {case.name.partition("-")[0] for case in found}
    assert behaviors == {"D1", "D2", "D3"}
    assert {case.name.partition("-")[0] for case in found if Scale.SMOKE in case.sizes} == {"D1", "D2"}
    for case in found:
        assert Scale.FULL in case.sizes
        if "captioner" in case.name or "sdn" in case.target:
            assert {"jpeg-blocks:90", "non-local-means", "svm", "jpeg-blocks:90+svm", "trace"} <= set(case.defenses)


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    code, _, said = call("study", "--scale", "huge", "--out", tmp_path / "study")
    assert code == 2
    assert "expected --scale smoke or full, got 'huge'" in said
