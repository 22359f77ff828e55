"""Average precision of detections against what is really there, as COCO defines it."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.core.objects import Objects


def average_precision(found: Sequence[Objects], true: Sequence[Objects], iou: float = 0.5) -> float:
    """Placeholder until the metric is written."""
    raise NotImplementedError
