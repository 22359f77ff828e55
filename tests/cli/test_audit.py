from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_audits import TUG, call, records, snapshot, spawn, write_images

from torpor.core.budget import Budget
from torpor.data.images import Digits
from torpor.targets.early_exit.target import EarlyExitTarget

WORDS = ["audit", "sdn-digits", "--attacks", "deepsloth,deepsloth-universal,control-noise", "--eps", "16/255"]
OPTIONS = ["--limit", "12", "--batch-size", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit the digits with the real command."""
    base = tmp_path_factory.mktemp("audit")
    done = spawn(*WORDS, *OPTIONS, "--out", "run", cwd=base)
    assert done.returncode == 0, done.stderr
    (base / "stdout").write_text(done.stdout)
    return base / "run"


def test_the_folder_is_complete(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"audit.json", "records.parquet", "examples", "report.html", "plan.json"} <= names
    assert "shards" not in names
    assert not list(run.rglob("*.partial"))


def test_the_attack_costs_more_than_every_control(run: Path) -> None:
    summary = json.loads((run / "audit.json").read_text())["summary"]
    rows = {row["attack"]: row for row in summary}
    assert list(rows) == [
        *("clean", "deepsloth", "deepsloth-universal"),
        *("control-noise", "control-flat", "control-shuffled"),
    ]
    controls = [row["slowdown_mean"] for row in summary if row["kind"] == "control"]
    assert rows["deepsloth"]["slowdown_mean"] > 1.5 * max(controls)
    assert {row["eps"] for row in summary} == {None, 16 / 255}


def test_work_is_exact(run: Path, digits_target: EarlyExitTarget) -> None:
    batch = Digits().load("test", 12)
    rows = [row for row in records(run).to_pylist() if row["attack"] == "clean"]
    for row, image in zip(rows, batch.inputs, strict=True):
        outcome = digits_target.run(digits_target.space.from_bytes(image.unsqueeze(0)))
        assert row["work"] == outcome.work.counts[0].tolist()
        assert row["cost"] == digits_target.prices.cost(outcome.work).item()


def test_the_console_shows_table_verdict_and_report(run: Path) -> None:
    text = (run.parent / "stdout").read_text()
    for words in ("control-shuffled", "headroom", "Worst slowdown", "static bound", "Report: run/report.html"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_report_shows_it_again(run: Path) -> None:
    html = (run / "report.html").read_bytes()
    code, out, err = call("report", run)
    assert code == 0, err
    assert "Worst slowdown" in out
    assert (run / "report.html").read_bytes() == html


def test_the_finished_audit_repeated_changes_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(run)
    code, out, err = call(*WORDS, *OPTIONS, "--out", run)
    assert code == 0, err
    assert "Worst slowdown" in out
    assert snapshot(run) == before


def test_another_audit_in_the_same_folder_is_refused(run: Path) -> None:
    before = snapshot(run)
    code, _, err = call(*WORDS, "--limit", "13", "--batch-size", "8", "--out", run)
    assert code == 2
    assert "with other settings, weights, data or versions" in err
    assert snapshot(run) == before


def test_the_default_folder_is_named_after_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_images(tmp_path / "data", test=4, train=10)
    code, _, err = call("audit", TUG, "--attacks", "pgd", "--norm", "L2", "--eps", "0.5,1/4", "--data-dir", data)
    assert code == 0, err
    audit = json.loads((tmp_path / "runs" / "torpor.targets.early_exit.toys.tug" / "audit.json").read_text())
    assert [row["eps"] for row in audit["summary"] if row["attack"] == "pgd"] == [0.25, 0.5]
    for row in audit["summary"][1:]:
        assert str(Budget("L2", row["eps"])) == f"L2 eps={row['eps']:g}"
        assert row["l2_mean"] <= row["eps"] + 1e-6
