"""Values that no change of the code or of the format may move, unless a fault is fixed."""

from __future__ import annotations

from pathlib import Path

import pytest
from version1_audits import CASES, FOLDER

from torpor.audits.engine import run_audit
from torpor.audits.read import read_audit
from torpor.targets.resolve import load_target

CLOCKED = ("attack_seconds", "fit_seconds")
HARDWARE = ("torch", "platform", "processor")
"""What rounding depends on, and so the path of a search; clean inputs cost the same everywhere."""


@pytest.mark.parametrize("name", CASES)
def test_the_same_plan_gives_the_values_that_version_1_wrote(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, write = CASES[name]
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    run_audit(plan, load_target(plan.target), tmp_path / "run")
    found, wanted = read_audit(tmp_path / "run"), read_audit(FOLDER / name)
    alike = all(found.environment[key] == wanted.environment[key] for key in HARDWARE)
    picked = None if alike else [row["attack"] == "clean" for row in wanted.all_records().to_pylist()]
    tables = [
        audit.all_records() if picked is None else audit.all_records().filter(picked) for audit in (found, wanted)
    ]
    assert tables[0].equals(tables[1])
    for row, known in zip(found.summary, wanted.summary, strict=True):
        if not (alike or row["attack"] == "clean"):
            continue
        assert row.keys() == known.keys()
        for key in row.keys() - set(CLOCKED):
            assert row[key] == known[key], (row["attack"], key)
