"""Outputs: how much a pipeline handed downstream, and how well it found the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.core.measures import ELSEWHERE, Measure
from torpor.core.objects import Objects, frames_of, from_json
from torpor.core.units import Unit
from torpor.metrics.detection import average_precision, mean_average_precision
from torpor.metrics.tracking import tracking_scores

COLUMNS = ("kept", "kept_clean", "clean_recall", "work", "found", "truth")
_column, _key = partial(Measure, level="sample"), partial(Measure, level="row")
_NOTHING = "nothing was found in the clean inputs"
_score = partial(_key, dimension="ratio", better="high", null=ELSEWHERE)
_reason = partial(_key, dimension="text", help="Why there is no score.", null="there is one", dtype=str)
OBJECTS: tuple[Measure, ...] = (
    _column(
        "kept_clean",
        dimension="count",
        title="clean objects",
        help="Objects handed downstream for the clean input, over all frames.",
        dtype=int,
    ),
    _column(
        "kept",
        dimension="count",
        title="objects",
        help="Objects handed downstream for this input, over all frames: in videos those that a track follows.",
        better="low",
        dtype=int,
    ),
    _column(
        "clean_recall",
        dimension="ratio",
        title="clean recall",
        help="Share of the clean input's objects that are still found.",
        better="high",
        null=_NOTHING,
    ),
    _column(
        "found",
        dimension="text",
        title="found",
        help="These objects as JSON, `{boxes, labels, scores, ids}` in pixels; for a video a list with those of each "
        "frame. An id of -1 is followed by no track.",
        dtype=str,
    ),
    _column(
        "truth",
        dimension="text",
        title="ground truth",
        help="Ground truth, likewise.",
        null="the data have no references",
        dtype=str,
    ),
    _key(
        "units_mean",
        dimension="object",
        title="units",
        help="How often each unit ran, mean per sample. `backbone`: the network; `candidate`: boxes above the "
        "confidence threshold; `nms_pair`: pairs of boxes that suppression compares; `object`: boxes that the model "
        "after the detector looks at; `track_step`: frames; `track_alive`: tracks that a frame meets; `track_update`: "
        "detections that a track takes in; `association_pair`: pairs of a track and a detection that are compared; "
        "`downstream`: objects that are handed on, where they have a price.",
        dtype=dict,
    ),
    _key("stage_cost_mean", dimension="object", title="stages", help="Mean cost of each stage.", dtype=dict),
    _key(
        "kept_mean",
        dimension="count",
        title="objects",
        help="Mean objects handed downstream.",
        better="low",
        on_console=True,
    ),
    _key("kept_clean_mean", dimension="count", title="clean objects", help="The same of the clean inputs."),
    _key(
        "clean_recall_mean",
        dimension="ratio",
        title="clean recall",
        help="Mean share of the clean input's objects that are still found, with their class and an IoU of 0.5.",
        better="high",
        null=_NOTHING,
        on_console=True,
    ),
    _score(
        "map50", title="mAP@.5", help="mAP at IoU 0.5 against the ground truth, as COCO defines it.", on_console=True
    ),
    _score("map", title="mAP@[.5:.95]", help="Its mean over IoU 0.5 to 0.95."),
    _score(
        "mota", title="MOTA", help="MOTA over all videos against the ground truth, whatever the class.", on_console=True
    ),
    _score("idf1", title="IDF1", help="IDF1 likewise."),
    *(_reason(f"{key}_reason", title=f"{key}: why not") for key in ("map50", "map", "mota", "idf1")),
)
"""What audits measure of targets that find objects."""


def output_summary(
    columns: Mapping[str, Sequence[Any]], units: Sequence[Unit], prices: Sequence[float]
) -> dict[str, Any]:
    """Return a summary row's keys of objects.

    Args:
        columns: a list ``[N]`` for each name in ``COLUMNS``.
        units: of the target; the columns of ``work``.
        prices: of one run of each unit.

    >>> columns = {"kept": [3], "kept_clean": [1], "clean_recall": [1.0], "work": [[1, 4]],
    ...            "found": ['{"boxes":[],"labels":[]}'], "truth": [None]}
    >>> units = (Unit("backbone", 10, "detector"), Unit("candidate", 1, "nms"))
    >>> found = output_summary(columns, units, (10.0, 1.0))
    >>> found["units_mean"], found["stage_cost_mean"], found["map50_reason"]
    ({'backbone': 1.0, 'candidate': 4.0}, {'detector': 10.0, 'nms': 4.0}, 'the data have no references')
    """
    work: npt.NDArray[np.float64] = np.array(columns["work"], dtype=np.float64).mean(0)
    counts = dict(zip((unit.name for unit in units), work.tolist(), strict=True))
    recall = [share for share in columns["clean_recall"] if share is not None]
    return {
        "units_mean": counts,
        "stage_cost_mean": stage_costs(work.tolist(), list(zip((unit.stage for unit in units), prices, strict=True))),
        "kept_mean": float(np.mean(columns["kept"])),
        "kept_clean_mean": float(np.mean(columns["kept_clean"])),
        "clean_recall_mean": float(np.mean(recall)) if recall else None,
        **_scores(columns["found"], columns["truth"]),
    }


def stage_costs(counts: Sequence[float], priced: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return the cost of each stage, in order of appearance.

    Args:
        counts: how often each unit ran.
        priced: stage and price of each unit.

    >>> stage_costs([1.0, 4.0, 2.0], [("detector", 10), ("nms", 1), ("nms", 3)])
    {'detector': 10.0, 'nms': 10.0}
    """
    costs = dict.fromkeys((stage for stage, _ in priced), 0.0)
    for count, (stage, price) in zip(counts, priced, strict=True):
        costs[stage] += price * count
    return costs


def _scores(found: Sequence[str], truth: Sequence[str | None]) -> dict[str, Any]:
    """Return how well all samples together were understood; None, and a reason, where that is unknown."""
    keys = ("map50", "map", "mota", "idf1")
    known = [each for each in truth if each is not None]
    if len(known) < len(truth):
        return {**dict.fromkeys(keys), **{f"{key}_reason": "the data have no references" for key in keys}}
    videos = [(frames_of(from_json(one)), frames_of(from_json(other))) for one, other in zip(found, known, strict=True)]
    images: list[tuple[Objects, Objects]] = [pair for video in videos for pair in zip(*video, strict=True)]
    boxes, true = ([pair[side] for pair in images] for side in (0, 1))
    scores: dict[str, Any] = dict.fromkeys(keys)
    scores |= {"map50": average_precision(boxes, true), "map": mean_average_precision(boxes, true)}
    if all(each.ids is not None for each in (*boxes, *true)):
        tracked = tracking_scores([found for found, _ in videos], [true for _, true in videos])
        scores |= {"mota": tracked.mota, "idf1": tracked.idf1}
    reason = None if scores["mota"] is not None else "objects are not followed here, or the data do not number them"
    return {**scores, "map50_reason": None, "map_reason": None, "mota_reason": reason, "idf1_reason": reason}
