"""The study on toys: every cell is filled or explained, and a killed one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_audits import NEEDLE, call, write_images

from torpor.study import run
from torpor.study.cases import Case, Scale, Size, cases
from torpor.study.page import write_pages

SIZES = {Scale.SMOKE: Size(4, 3, 20)}
DEFENSES = ("bit-depth:3", "bit-depth:3+trace", "steps")
TOYS = (
    Case(
        "toy",
        "ResNet56",
        NEEDLE,
        "pgd",
        "Linf",
        ("bit-depth:3", "bit-depth:3+trace", "steps"),
        ("trace",),
        SIZES,
        "toys",
    ),
    Case("absent", "", NEEDLE, "pgd", "Linf", ("bit-depth:3",), ("trace",), SIZES, "nowhere"),
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
        assert f"| 4 | {defense} |" in text
    assert "| toy | steps | expected a defense for early exit" in text
    assert "| absent | all | no nowhere in the folder of data" in text
    assert "raw 82.7 %" in text  # theirs, beside ours
    assert "torpor study --scale smoke" in text
    html = (tmp_path / "study" / "study.html").read_text(encoding="utf-8")
    assert html.count("<table>") == 3
    assert "http://" not in html
    assert "https://" not in html


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
    for case in found:
        assert set(case.sizes) == set(Scale)
        if "captioner" in case.name or "sdn" in case.target:
            assert {"jpeg-blocks:90", "non-local-means", "svm", "jpeg-blocks:90+svm", "trace"} <= set(case.defenses)


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    code, _, said = call("study", "--scale", "huge", "--out", tmp_path / "study")
    assert code == 2
    assert "expected --scale smoke or full, got 'huge'" in said
