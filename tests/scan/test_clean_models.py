"""Scores of scans: the false-positive rate holds over clean models that the threshold was not fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torpor.core.errors import DataError, UsageError
from torpor.scan.calibration import CleanModels, read_scans


def test_the_rate_holds_on_other_clean_models() -> None:
    rng = np.random.default_rng(0)
    flags = []
    for _ in range(400):
        drawn = rng.normal(size=(20, 2))
        *known, new = [{"a": float(a), "b": float(b)} for a, b in drawn]
        flags.append(CleanModels("toy", tuple(known)).score(new, 0.1).is_high)
    assert 0.05 < np.mean(flags) < 0.14


def test_figures_that_clean_models_lack_do_not_count() -> None:
    clean = CleanModels("toy", ({"a": 0.0},) * 9)
    assert clean.score({"a": 0.0, "b": 100.0}, 0.1).figure == "a"
    with pytest.raises(UsageError, match="expected 3 scans or more of clean models with b"):
        clean.score({"b": 1.0}, 0.1)


def test_scans_are_read_from_files_and_folders(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(json.dumps({"kind": "toy", "figures": {"a": number}}))
    assert read_scans([tmp_path], "toy").figures == ({"a": 0}, {"a": 1}, {"a": 2})
    assert len(read_scans([tmp_path / "0.json", tmp_path / "1.json"], "toy").figures) == 2
    with pytest.raises(UsageError, match="of the kind other, got toy"):
        read_scans([tmp_path], "other")
    with pytest.raises(UsageError, match="got none in"):
        read_scans([tmp_path / "missing.json"], "toy")
    (tmp_path / "3.json").write_text('{"kind": "toy", "figures": {"a": NaN}}')
    with pytest.raises(DataError, match="expected finite figures"):
        read_scans([tmp_path], "toy")
    (tmp_path / "3.json").write_text("[]")
    with pytest.raises(DataError, match="expected a scan in"):
        read_scans([tmp_path], "toy")
