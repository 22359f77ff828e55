"""(j) What does exact, counted suppression take beside plain ones? ``python -m benchmarks.suppression``.

Every side gets the same boxes of one class and keeps the same of them, which is asserted. The plain ones count nothing:
they take the best box that is left, drop what overlaps it too much, and so on; in NumPy, in torch, and in torchvision's
kernel, which is skipped where torchvision does not import.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import Options, Row, busy, command, interleave
from torpor.core.objects import box_iou
from torpor.targets.detector.nms import NMS, suppress

SIZES = (336, 8400)
"""Boxes of a small detector's and of a YOLOX's proposals."""
IOU = 0.45

Suppress = Callable[[Tensor, Tensor], Tensor]
"""Returns the indices of the kept boxes, the best first, of boxes ``[N, 4]`` and scores ``[N]``."""


def ours(boxes: Tensor, scores: Tensor) -> Tensor:
    """Suppress as targets do, without caps."""
    return suppress(boxes, scores[:, None], NMS(conf=0.0, iou=IOU, max_nms=len(boxes), max_det=len(boxes))).index


def greedy(boxes: NDArray[np.float32], labels: NDArray[np.int64], iou: float) -> list[int]:
    """Return which of ``boxes`` ``[N, 4]``, the best first, are kept; one at a time, and nothing is counted."""
    left, top, right, bottom = boxes.T
    area = (right - left) * (bottom - top)
    kept, waiting = [], np.arange(len(boxes))
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        width = np.minimum(right[best], right[waiting]) - np.maximum(left[best], left[waiting])
        height = np.minimum(bottom[best], bottom[waiting]) - np.maximum(top[best], top[waiting])
        inside = width.clip(0) * height.clip(0)
        gone = inside / (area[best] + area[waiting] - inside) > iou
        waiting = waiting[~(gone & (labels[waiting] == labels[best]))]
    return kept


def by_numpy(boxes: Tensor, scores: Tensor) -> Tensor:
    """Suppress in NumPy."""
    order = scores.argsort(descending=True, stable=True)
    return order[greedy(boxes[order].numpy(), np.zeros(len(boxes), dtype=np.int64), IOU)]


def by_torch(boxes: Tensor, scores: Tensor) -> Tensor:
    """Suppress in torch."""
    waiting = scores.argsort(descending=True, stable=True)
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        waiting = waiting[~(box_iou(boxes[best][None], boxes[waiting])[0] > IOU)]
    return torch.stack(kept)


def torchvision() -> Suppress:
    """Return torchvision's kernel."""
    package: Any = import_module("torchvision.ops")
    return lambda boxes, scores: package.nms(boxes, scores, IOU)


def proposals(count: int, *, crowded: bool) -> tuple[Tensor, Tensor]:
    """Return boxes and scores: forty to an object, as in a clean image, or all apart, as attacks want them."""
    rng = torch.Generator().manual_seed(0)
    scores = 1 - torch.rand(count, generator=rng)
    if not crowded:
        corner = torch.stack([torch.arange(count) % 100, torch.arange(count) // 100], 1) * 8.0
        return torch.cat([corner, corner + 6], 1), scores
    objects = torch.rand(count // 40, 2, generator=rng) * 600
    corner = objects[torch.randint(len(objects), (count,), generator=rng)]
    corner = corner + 3 * torch.randn(count, 2, generator=rng)
    return torch.cat([corner, corner + 40 + 3 * torch.randn(count, 2, generator=rng)], 1), scores


def suppression(count: int, name: str, plain: Suppress, options: Options, *, crowded: bool, rounds: int = 9) -> Row:
    """Compare ours with a plain one that keeps the same boxes."""
    boxes, scores = proposals(count, crowded=crowded)
    kept, expected = ours(boxes, scores), plain(boxes, scores)
    assert kept.equal(expected), f"expected {len(expected)} kept boxes, got {len(kept)} or others"
    calls = {"ours": lambda: ours(boxes, scores), "plain": lambda: plain(boxes, scores)}
    times = interleave(calls, options, rounds=rounds)
    value, ci95 = times.estimate(lambda median: median["ours"] / median["plain"])
    what = "crowded" if crowded else "apart"
    note = f"{len(kept)} kept, ours {1e3 * float(np.median(times.seconds['ours'])):.2f} ms{busy(times)}"
    return Row(f"(j) counted NMS / {name}, {count} boxes, {what}", value, ci95, note=note)


def run(options: Options) -> list[Row]:
    """Compare with every plain one."""
    if options.peers is not None:
        sys.path.insert(0, str(options.peers))
    plain: dict[str, Suppress] = {"NumPy": by_numpy, "torch": by_torch}
    absent = []
    try:
        plain["torchvision"] = torchvision()
    except (ImportError, RuntimeError) as error:  # a build for another torch raises the latter
        absent = [Row("(j) counted NMS / torchvision", None, note=f"torchvision does not import: {error}")]
    cases = [(name, count, crowded) for name in plain for count in SIZES for crowded in (True, False)]
    return [suppression(count, name, plain[name], options, crowded=crowded) for name, count, crowded in cases] + absent


if __name__ == "__main__":
    command(run)
