"""Clean models of one kind: how far each figure of a scan varies among them, and so how rare a score is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torpor.core.errors import DataError, UsageError
from torpor.metrics.roc import check_calibration, threshold_at

Figures = Mapping[str, float]
"""Of a scan, by name; the larger, the more suspicious."""

LEAST = 0.02
"""Deviation that any figure has at least: two points of the headroom, or two percent of the cost."""
FEWEST = 3
"""Clean models that a deviation can be taken from."""


@dataclass(frozen=True)
class Score:
    """How far a model is from clean ones.

    Attributes:
        value: deviations of its most unusual figure above the median of clean models.
        figure: which one that is.
        threshold: the score that a clean model exceeds with the false-positive rate at most; None if there are too few.
        p_value: share of clean models that score as high, this one counted among them.
    """

    value: float
    figure: str
    threshold: float | None
    p_value: float

    @property
    def is_high(self) -> bool:
        """Whether it exceeds the threshold; False where there is none."""
        return self.threshold is not None and self.value > self.threshold


@dataclass(frozen=True)
class CleanModels:
    """What scans of clean models of one kind found.

    Attributes:
        kind: see :func:`torpor.scan.run.kind_of`.
        figures: of each model.
    """

    kind: str
    figures: tuple[Figures, ...]

    def score(self, judged: Figures, fpr: float) -> Score:
        """Return the score of a model that is none of these, and the threshold.

        A clean model's own score is taken against the others, never against itself: the threshold is that of split
        conformal prediction on these left-out scores.

        Args:
            judged: figures of the model; those that these models lack do not count.
            fpr: the rate of clean models that may exceed the threshold, between 0 and 1.

        Raises:
            UsageError: if they have no figure in common, or there are fewer than three models.

        >>> clean = CleanModels("toy", tuple({"cost": 0.1 * number} for number in range(9)))
        >>> clean.score({"cost": 5.0}, 0.1).is_high, clean.score({"cost": 0.4}, 0.1).is_high
        (True, False)
        """
        names = [name for name in judged if all(name in each for each in self.figures)]
        if not names or len(self.figures) < FEWEST:
            raise UsageError(
                f"expected {FEWEST} scans or more of clean models with {', '.join(judged)}, got {len(self.figures)} "
                f"with {', '.join(sorted(set().union(*self.figures))) or 'nothing'}; scan them alike"
            )
        value, figure = unusual(judged, self.figures, names)
        own = self.left_out(names)
        p_value = (1 + sum(each >= value for each in own)) / (1 + len(own))
        try:
            check_calibration(len(own), fpr)
        except UsageError:
            return Score(value, figure, None, p_value)
        return Score(value, figure, threshold_at(own, fpr), p_value)

    def left_out(self, names: Sequence[str]) -> list[float]:
        """Return each clean model's score against all others."""
        return [
            unusual(each, self.figures[:at] + self.figures[at + 1 :], names)[0] for at, each in enumerate(self.figures)
        ]


def unusual(judged: Figures, clean: Sequence[Figures], names: Sequence[str]) -> tuple[float, str]:
    """Return how many deviations the most unusual figure lies above the median of clean models, and which it is.

    A deviation is the root of the mean square around the median, and :data:`LEAST` at least.

    >>> unusual({"a": 1.0, "b": 0.0}, [{"a": 0.0, "b": 0.0}] * 3, ["a", "b"])
    (50.0, 'a')
    """
    found = []
    for name in names:
        values = np.array([each[name] for each in clean])
        middle = float(np.median(values))
        deviation = max(LEAST, float(np.sqrt(np.mean(np.square(values - middle)))))
        found.append(((judged[name] - middle) / deviation, name))
    return max(found)


def read_scans(paths: Iterable[Path], kind: str) -> CleanModels:
    """Read what ``torpor scan --out`` wrote of clean models: files, or folders of them.

    Raises:
        UsageError: if a path does not exist, or a scan is of another kind of model.
        DataError: if a file is no scan.
    """
    figures = []
    for path in (file for given in paths for file in _files(given)):
        found = _read(path)
        if found.get("kind") != kind:
            raise UsageError(
                f"expected scans of clean models of the kind {kind}, got {found.get('kind')} in {path}; scan models "
                "of one architecture and one rule"
            )
        figures.append(found["figures"])
    return CleanModels(kind, tuple(figures))


def _files(path: Path) -> list[Path]:
    path = path.expanduser()
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise UsageError(f"expected a scan, or a folder of scans, got none in {path}; write them with --out")
    return files


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        numbers = [float(value) for value in found["figures"].values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"expected a scan in {path}, got {type(error).__name__}; write it with --out") from error
    if not numbers or not all(map(math.isfinite, numbers)):
        raise DataError(f"expected finite figures in {path}, got others; scan that model again")
    scan: Mapping[str, Any] = found
    return scan


def shipped(kind: str) -> CleanModels | None:
    """Return the clean models of this kind that come with the package; None if there are none.

    >>> shipped("unheard of") is None
    True
    """
    from importlib.resources import files

    path = files("torpor.scan") / "clean" / f"{kind}.json"
    if not path.is_file():
        return None
    return CleanModels(kind, tuple(json.loads(path.read_text(encoding="utf-8"))["figures"]))
