"""Values that no change of the code or of the format may move, unless a fault is fixed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from version1_audits import CASES, FOLDER

from torpor.audits.read import SavedAudit, read_audit
from torpor.audits.run.engine import run_audit
from torpor.core.rows import CERTIFIED
from torpor.targets.resolve import load_target

pytestmark = pytest.mark.slow

CLOCKED = ("attack_seconds", "fit_seconds")
NEW = {"tampering", *(each.name for each in CERTIFIED), "certified_reason", "latency_modeled_s"}
"""Keys that version 1 did not write."""
NEW_FLAGS = {"natural-tail-above-attack", "fit-failed"}
"""Flags that version 1 did not have."""
MENDED = {
    *("standard", "square", "control-shuffled"),
    *("nmtsloth-char", "control-random-edits", "control-best-of-k"),
}
"""What searches in another way since then: ``standard`` has other members, Square begins as published; the control that
shuffles what they found; and edits of characters, which put in others than ASCII, too."""
HARDWARE = ("torch", "platform", "processor")
"""What rounding depends on, and so the path of a search; clean inputs cost the same everywhere."""


def columns(audit: SavedAudit, *, clean: bool) -> pa.Table:
    """Return the records that are to be the same, columns by name."""
    table = audit.load_records()
    names = table["attack"].to_pylist()
    chosen = table.filter([name == "clean" if clean else name not in MENDED for name in names])
    return chosen.select(sorted(set(chosen.column_names) - {"tampering", "work_static", "curve", "search_cost"}))


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
    assert columns(found, clean=not alike).to_pylist() == columns(wanted, clean=not alike).to_pylist()
    for row, known in zip(found.summary, wanted.summary, strict=True):
        if not (alike or row["attack"] == "clean"):
            continue
        if row["attack"] in MENDED:
            assert row["attack"] != "standard" or row["headroom_mean"] >= known["headroom_mean"]
            continue
        assert not row.keys() - known.keys() - NEW
        for key in known.keys() - set(CLOCKED):  # version 1 also wrote null for what only early exits have
            now = [flag for flag in row[key] if flag not in NEW_FLAGS] if key == "flags" else row.get(key)
            assert now == known[key], (row["attack"], key)
