"""Average precision against pycocotools, an implementation of its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.metrics.detection import IOUS, average_precision, mean_average_precision

Pair = tuple[list[Objects], list[Objects]]


def objects(count: int, classes: int, rng: torch.Generator, *, scored: bool) -> Objects:
    """Draw boxes of whole pixels, which all overlap much, and scores of which many are equal."""
    corner = torch.randint(0, 4, (count, 2), generator=rng)
    side = torch.randint(1, 8, (count, 2), generator=rng)
    labels = torch.randint(0, classes, (count,), generator=rng)
    scores = torch.randint(1, 9, (count,), generator=rng).sort(descending=True).values / 9 if scored else None
    return Objects(torch.cat([corner, corner + side], 1).float(), labels, scores)


@st.composite
def sets(draw: st.DrawFn) -> Pair:
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    classes = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=5))
    found = [objects(count, classes, rng, scored=True) for count, _ in sizes]
    return found, [objects(count, classes, rng, scored=False) for _, count in sizes]


def rows(images: Sequence[Objects]) -> list[dict[str, Any]]:
    """Return objects as COCO's files list them."""
    found: list[dict[str, Any]] = []
    for image, each in enumerate(images):
        for place, (left, top, right, bottom) in enumerate(each.boxes.tolist()):
            row: dict[str, Any] = {
                "image_id": image,
                "category_id": int(each.labels[place]),
                "id": len(found) + 1,
                "iscrowd": 0,
            }
            row |= {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
            found.append(row | ({} if each.scores is None else {"score": float(each.scores[place])}))
    return found


def by_coco(found: Sequence[Objects], true: Sequence[Objects]) -> np.ndarray:
    """Return the mean over classes of pycocotools at each IoU; -1 where it defines none."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    images = [{"id": image} for image in range(len(true))]
    truth.dataset = {"images": images, "annotations": rows(true), "categories": [{"id": id_} for id_ in range(3)]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        seen = COCO()
        seen.dataset = truth.dataset | {"annotations": rows(found)}
        seen.createIndex()
        scores = COCOeval(truth, seen, "bbox")
        scores.params.maxDets = [10_000]
        scores.params.areaRng, scores.params.areaRngLbl = [[0, 1e10]], ["all"]
        scores.evaluate()
        scores.accumulate()
    precision = scores.eval["precision"][:, :, :, 0, 0]  # [T, R, C]
    there = (precision > -1).all((0, 1))
    return precision[:, :, there].mean((1, 2)) if there.any() else np.full(10, -1.0)


@settings(max_examples=120)
@given(sets())
def test_equals_pycocotools(drawn: Pair) -> None:
    pytest.importorskip("pycocotools")
    found, true = drawn
    expected = by_coco(found, true)
    if expected[0] == -1:
        expected = np.full(10, 0.0 if any(map(len, found)) else 1.0)
    got = [average_precision(found, true, iou) for iou in IOUS]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert abs(mean_average_precision(found, true) - expected.mean()) < 1e-6


@given(sets())
def test_what_is_there_found_as_it_is_scores_one(drawn: Pair) -> None:
    _, true = drawn
    found = [Objects(each.boxes, each.labels, torch.ones(len(each))) for each in true]
    assert mean_average_precision(found, true) == pytest.approx(1)


def test_images_without_objects() -> None:
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    something = Objects(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([0]), torch.ones(1))
    assert average_precision([nothing], [nothing]) == 1
    assert average_precision([something], [nothing]) == 0
    assert average_precision([nothing], [something]) == 0
    assert average_precision([something, nothing], [something, nothing]) == pytest.approx(1)


def test_classes_that_are_not_there_do_not_count() -> None:
    box = torch.tensor([[0.0, 0, 2, 2]])
    found = Objects(box.repeat(2, 1), torch.tensor([5, 1]), torch.tensor([0.9, 0.8]))
    assert average_precision([found], [Objects(box, torch.tensor([1]))]) == pytest.approx(1)


def test_detections_need_scores() -> None:
    box = Objects(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([0]))
    with pytest.raises(UsageError, match="expected detections with scores"):
        average_precision([box], [box])
