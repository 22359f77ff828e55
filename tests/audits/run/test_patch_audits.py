"""An audit with patches as its budget: records, controls, gate, and what a reader is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from toy_audits import NEEDLE, call, write_images

GUESS = "bounds_of_toys:Windows"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Audit twelve images with patches of two sizes; return its folder and what was printed."""
    folder = tmp_path_factory.mktemp("patches")
    write_images(folder / "data")
    budget = ("--attacks", "deepsloth,square:queries=60", "--norm", "patch", "--eps", "15%,1/2", "--limit", "12")
    code, out, err = call("audit", NEEDLE, *budget, "--data-dir", folder / "data", "--out", folder / "run")
    assert code == 0, err
    return folder / "run", out


def test_records_hold_the_share_and_what_of_it_was_used(run: tuple[Path, str]) -> None:
    table = pq.read_table(run[0] / "records.parquet").to_pandas()
    attacked = table[table.attack != "clean"]
    assert set(attacked.norm) == {"patch"}
    assert set(attacked.eps) == {0.15, 0.5}
    assert attacked.budget_used.between(0, 1).all()
    assert set(attacked.attack) == {
        *("deepsloth", "square:queries=60", "control-noise", "control-flat", "control-shuffled")
    }
    changed = attacked[attacked.cost > attacked.cost_clean]
    assert (changed.l1 <= 16 * changed.eps).all()  # no pixel moves by more than 1
    large = attacked[(attacked.eps == 0.5) & (attacked.attack == "deepsloth")]
    assert large.cost.mean() > table[table.attack == "clean"].cost.mean()


def test_the_summary_says_what_whole_pixels_cover(run: tuple[Path, str]) -> None:
    rows = json.loads((run[0] / "audit.json").read_text())["summary"]
    assert {row["eps"]: row["eps_spent"] for row in rows if row["eps"]} == {0.15: 2 / 16, 0.5: 6 / 16}


def test_readers_are_told_of_areas(run: tuple[Path, str]) -> None:
    words = " ".join(run[1].split())
    assert "patch 50 %" in words
    page = (run[0] / "report.html").read_text()
    assert "patch 50 % of the area (37.5 % spent)" in page
    assert "eps (patch, share of the area)" in page


def test_gates_judge_patches(run: tuple[Path, str]) -> None:
    code, out, _ = call("check", run[0], "mean(slowdown) < 1.01")
    assert code == 10
    assert "patch 50 %" in " ".join(out.split())


def test_a_bound_that_knows_no_patches_is_refused_before_anything_runs(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    common = (NEEDLE, "--norm", "patch", "--eps", "50%", "--limit", "4", "--data-dir", tmp_path / "data")
    code, _, err = call("audit", *common, "--attacks", "deepsloth", "--bounds", GUESS, "--out", tmp_path / "run")
    assert code == 2
    assert "expected norm Linf, L2, L1" in err
    assert not (tmp_path / "run" / "records.parquet").exists()
    assert call("bound", *common, "--bound", GUESS)[0] == 2
    code, _, err = call("audit", *common, "--attacks", "deepsloth", "--bounds", "static", "--out", tmp_path / "run")
    assert code == 0, err
