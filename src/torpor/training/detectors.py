"""How well trained detectors and trackers find the ground truth, and the work that it takes, as deployed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from torpor.core.objects import Objects
from torpor.data.sets import DataSet
from torpor.metrics.detection import average_precision, mean_average_precision
from torpor.metrics.tracking import TrackingScores, tracking_scores
from torpor.targets.detector.contract import CandidateTarget
from torpor.targets.detector.detection import BACKBONE, DetectorTarget
from torpor.targets.detector.tracking import STEP, TrackerTarget


def judge(target: DetectorTarget, data: DataSet, split: str) -> dict[str, Any]:
    """Return average precision against the ground truth, and the work per image, for a model card."""
    found: list[Objects] = []
    true: list[Objects] = []
    work = []
    for batch in data.batches(split, 50):
        outcome = target.run(target.read(batch.inputs))
        found += outcome.outputs
        true += batch.references
        work.append(outcome.work.counts.double())
    return {
        "samples": len(true),
        "mAP@.5": round(average_precision(found, true), 4),
        "mAP@[.5:.95]": round(mean_average_precision(found, true), 4),
        "objects_mean": round(sum(map(len, true)) / len(true), 3),
        "found_mean": round(sum(map(len, found)) / len(true), 3),
        **_work(target, torch.cat(work)),
    }


def judge_tracker(target: TrackerTarget, data: DataSet, split: str) -> dict[str, Any]:
    """Return tracking accuracy against the ground truth, and the work per frame, for a model card."""
    total = TrackingScores(*[0] * len(fields(TrackingScores)))
    found: list[Objects] = []
    true: list[Objects] = []
    work = []
    for batch in data.batches(split, 4):
        outcome = target.run(target.read(batch.inputs))
        total += tracking_scores(outcome.outputs, batch.references)
        found += [frame for frames in outcome.outputs for frame in frames]
        true += [frame for frames in batch.references for frame in frames]
        work.append(outcome.work.counts.double() / target.frames)
    return {
        "samples": len(true) // target.frames,
        "MOTA": round(total.mota, 4),
        "IDF1": round(total.idf1, 4),
        "mAP@.5": round(average_precision(found, true), 4),
        "misses": total.misses,
        "false_positives": total.false_positives,
        "switches": total.switches,
        "objects_mean": round(total.objects / len(true), 3),
        **_work(target, torch.cat(work)),
    }


def _work(target: CandidateTarget, counts: Tensor) -> dict[str, float]:
    """Return the mean and the most of the counts ``[N, U]`` of each unit whose number depends on the input."""
    columns = dict(zip((unit.name for unit in target.units), counts.T, strict=True))
    moved = {name: column for name, column in columns.items() if name not in (BACKBONE, STEP)}
    means = {f"{name}_mean": round(column.mean().item(), 3) for name, column in moved.items()}
    return means | {f"{name}_max": round(column.max().item(), 3) for name, column in moved.items()}
