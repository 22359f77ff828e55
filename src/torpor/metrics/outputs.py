"""Outputs: how much a pipeline handed downstream, and how well it found what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.core.objects import Objects, frames_of, from_json
from torpor.core.units import Unit
from torpor.metrics.detection import average_precision, mean_average_precision
from torpor.metrics.tracking import tracking_scores

COLUMNS = ("kept", "kept_clean", "clean_recall", "work", "found", "truth")


class OutputSummary:
    """Gather batches of records, then summarize what was found in them.

    >>> summary = OutputSummary()
    >>> summary.update({"kept": [3], "kept_clean": [1], "clean_recall": [1.0], "work": [[1, 4]],
    ...                 "found": ['{"boxes":[],"labels":[]}'], "truth": [None]})
    >>> found = summary.compute((Unit("backbone", 10, "detector"), Unit("candidate", 1, "nms")))
    >>> found["units_mean"], found["stage_flops_mean"], found["map50_reason"]
    ({'backbone': 1.0, 'candidate': 4.0}, {'detector': 10.0, 'nms': 4.0}, 'the data have no references')
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}

    def update(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add one batch: a list ``[N]`` for each name in ``COLUMNS``."""
        for name, values in self._columns.items():
            values.extend(columns[name])

    def compute(self, units: Sequence[Unit]) -> dict[str, Any]:
        """Return the output keys of a summary row; ``docs/audit-format.md`` explains them."""
        column = self._columns
        work: npt.NDArray[np.float64] = np.array(column["work"], dtype=np.float64).mean(0)
        counts = dict(zip((unit.name for unit in units), work.tolist(), strict=True))
        flops = dict.fromkeys((unit.stage for unit in units), 0.0)
        for unit in units:
            flops[unit.stage] += unit.flops * counts[unit.name]
        recall = [share for share in column["clean_recall"] if share is not None]
        return {
            "units_mean": counts,
            "stage_flops_mean": flops,
            "kept_mean": float(np.mean(column["kept"])),
            "kept_clean_mean": float(np.mean(column["kept_clean"])),
            "clean_recall_mean": float(np.mean(recall)) if recall else None,
            **self._scores(),
        }

    def _scores(self) -> dict[str, Any]:
        """Return how well all samples together were understood; None, and a reason, where nobody can say."""
        keys = ("map50", "map", "mota", "idf1")
        if None in self._columns["truth"]:
            return {**dict.fromkeys(keys), **{f"{key}_reason": "the data have no references" for key in keys}}
        videos = [
            (frames_of(from_json(found)), frames_of(from_json(truth)))
            for found, truth in zip(self._columns["found"], self._columns["truth"], strict=True)
        ]
        pictures: list[tuple[Objects, Objects]] = [pair for video in videos for pair in zip(*video, strict=True)]
        found, true = ([pair[side] for pair in pictures] for side in (0, 1))
        scores: dict[str, Any] = dict.fromkeys(keys)
        scores |= {"map50": average_precision(found, true), "map": mean_average_precision(found, true)}
        if all(known.ids is not None for known in (*found, *true)):
            tracked = tracking_scores([found for found, _ in videos], [true for _, true in videos])
            scores |= {"mota": tracked.mota, "idf1": tracked.idf1}
        reason = None if scores["mota"] is not None else "objects are not followed here, or the data do not number them"
        return {**scores, "map50_reason": None, "map_reason": None, "mota_reason": reason, "idf1_reason": reason}
