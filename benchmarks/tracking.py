"""(k) What does counting work cost a detector and a tracker? ``python -m benchmarks.tracking``.

The plain loop does what a deployment does: the network on a frame, suppression, what looks at every kept box, the
library's tracker, without checks and counts. Its suppression is a plain one in NumPy, or torpor's own, whose counts are
then on both sides. Both loops say the same, which is asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import supervision
import torch
import trackers
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import Options, Row, busy, command, interleave
from benchmarks.suppression import greedy
from torpor.core.objects import UNTRACKED
from torpor.targets.detector.nms_pairs import compare
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.resolve import load_target

GOAL = 1.03
TRACKER = "tracker-scenes"

Keep = Callable[[NDArray[np.float32], NDArray[np.int64], float], Sequence[int] | NDArray[np.intp]]
"""Returns the kept ones of sorted boxes ``[N, 4]`` with labels ``[N]``, by an IoU."""


def own(boxes: NDArray[np.float32], labels: NDArray[np.int64], iou: float) -> NDArray[np.intp]:
    """Suppress as targets do, without what is around it."""
    return compare(boxes, labels, iou)[1].nonzero()[0]


@torch.no_grad()
def plain(target: TrackerTarget, video: Tensor, keep: Keep) -> list[list[int]]:
    """Return the numbers of the tracks that each frame's detections belong to, as the library orders them."""
    nms, looker = target.nms, target.detector.per_object
    tracker = getattr(trackers, target.tracker.library)(**target.tracker.arguments())
    numbers = []
    for frame in video:
        boxes, scores = target.detector.network(frame[None])
        best, labels = scores[0].max(1)
        chosen = (best > nms.conf).nonzero().flatten()
        order = chosen[best[chosen].argsort(descending=True, stable=True)][: nms.max_nms]
        kinds = torch.zeros_like(order) if nms.agnostic else labels[order]
        kept = order[keep(boxes[0, order].numpy(), kinds.numpy(), nms.iou)][: nms.max_det]
        if looker is not None and len(kept):
            labels[kept] = looker.network(looker.crops(frame, boxes[0, kept])).argmax(1)
        seen = supervision.Detections(
            boxes[0, kept].numpy(), confidence=best[kept].numpy(), class_id=labels[kept].numpy()
        )
        numbers.append(tracker.update(seen).tracker_id.tolist())
    return numbers


def tracking(
    target: TrackerTarget, videos: Tensor, keep: Keep, title: str, options: Options, *, rounds: int = 15
) -> Row:
    """Compare ``target.run`` with the plain loop, a video at a time."""
    outputs = target.run(videos).outputs
    for found, video in zip(outputs, videos, strict=True):
        for frame, numbers in zip(found, plain(target, video, keep), strict=True):
            assert frame.ids is not None
            assert sorted(frame.ids.tolist()) == sorted(numbers), "expected the same tracks, got others"
    calls = {
        "run": lambda: [target.run(video[None]) for video in videos],
        "plain": lambda: [plain(target, video, keep) for video in videos],
    }
    times = interleave(calls, options, rounds=rounds)
    value, ci95 = times.estimate(lambda median: median["run"] / median["plain"])
    frames = len(videos) * target.frames
    followed = sum(int((frame.ids != UNTRACKED).sum()) for found in outputs for frame in found)
    ms = 1e3 * times.seconds["plain"].mean() / frames
    note = f"{ms:.2f} ms and {followed / frames:.1f} tracks per frame{busy(times)}"
    return Row(f"(k) run with counts / plain loop, {title} NMS, {target.name}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare on test videos of the zoo's tracker."""
    target = load_target(TRACKER)
    assert isinstance(target, TrackerTarget)
    videos = target.space.from_bytes(target.data(None).load("test", 4).inputs)
    return [
        tracking(target, videos, greedy, "plain", options),
        tracking(target, videos, own, "own", options),
    ]


if __name__ == "__main__":
    command(run)
