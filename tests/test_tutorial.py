"""The tutorial runs as it stands, and shows what it printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
LARGEST = 100_000
"""Bytes that a notebook with its outputs may have."""


def kinds(notebook: dict[str, Any]) -> list[list[str]]:
    """Return what each cell of code put out: text, or the richest kind of data."""
    return [
        [
            "image" if "image/png" in each.get("data", {}) else each.get("name", each["output_type"])
            for each in cell["outputs"]
        ]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_stored_outputs_are_whole_and_small() -> None:
    """Every cell was run, in order; the page is built from what is stored."""
    notebook = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code)
    assert TUTORIAL.stat().st_size < LARGEST


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell raises, and each puts out what is stored; figures may differ by what a machine rounds otherwise."""
    nbformat = pytest.importorskip("nbformat", reason="the tutorial needs nbclient and ipykernel (extra dev)")
    nbclient = pytest.importorskip("nbclient", reason="the tutorial needs nbclient and ipykernel (extra dev)")
    pytest.importorskip("ipykernel", reason="the tutorial needs nbclient and ipykernel (extra dev)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    stored = kinds(json.loads(TUTORIAL.read_text(encoding="utf-8")))
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    assert kinds(notebook) == stored
