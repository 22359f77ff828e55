from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import accumulate, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import torpor.targets.detector.nms_pairs as module
from torpor.core.errors import UsageError
from torpor.core.objects import box_iou
from torpor.targets.detector.nms import NMS, Kept, suppress, suppress_all
from torpor.targets.detector.nms_pairs import overlap_more


def greedy(boxes: Tensor, scores: Tensor, nms: NMS) -> tuple[list[int], list[int], int, int]:
    """Keep boxes one by one, the slow way: kept boxes, their classes, candidates and comparisons."""
    chosen = [(row, label) for row, label in pairs_of(scores, nms) if scores[row, label] > nms.conf]
    waiting: list[tuple[int, int]] = []
    ends = list(accumulate(nms.levels))
    seen = Counter[int]()
    for row, label in sorted(chosen, key=lambda pair: -scores[pair].item()):
        group = sum(row >= end for end in ends) if ends else label
        seen[group] += 1
        if nms.topk is None or seen[group] <= nms.topk:
            waiting.append((row, label))
    waiting = waiting[: nms.max_nms]
    kept, pairs = [], 0
    while waiting:
        row, label = waiting.pop(0)
        kept.append((row, label))
        others = [other for other in waiting if nms.agnostic or other[1] == label]
        pairs += len(others)
        gone = {other for other in others if (box_iou(boxes[[row]], boxes[[other[0]]]) > nms.iou)}
        waiting = [other for other in waiting if other not in gone]
    kept = kept[: nms.max_det]
    return [row for row, _ in kept], [label for _, label in kept], len(chosen), pairs


def pairs_of(scores: Tensor, nms: NMS) -> list[tuple[int, int]]:
    """Return every box with each class that it may be a candidate of."""
    if nms.multi_label:
        return list(product(range(len(scores)), range(scores.shape[1])))
    return list(enumerate(scores.argmax(1).tolist())) if len(scores) else []


@st.composite
def proposals(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw boxes that overlap much, some without area, and scores of which many are equal."""
    count, classes = draw(st.integers(0, 40)), draw(st.integers(1, 3))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    corner = torch.randint(0, 6, (count, 2), generator=rng)
    side = torch.randint(0, 5, (count, 2), generator=rng)
    scores = torch.randint(0, 12, (count, classes), generator=rng) / 11
    return torch.cat([corner, corner + side], 1).to(torch.float32), scores


SETTINGS = st.builds(
    NMS,
    conf=st.sampled_from([0.0, 0.25, 0.6]),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.9]),
    max_nms=st.sampled_from([3, 20, 1000]),
    max_det=st.sampled_from([1, 5, 1000]),
    agnostic=st.booleans(),
    multi_label=st.booleans(),
    topk=st.sampled_from([None, 1, 4, 1000]),
)


@settings(max_examples=150)
@given(proposals(), SETTINGS, st.sampled_from([1, 4, 256]))
def test_blocks_keep_and_count_what_greedy_suppression_does(drawn: tuple[Tensor, Tensor], nms: NMS, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        kept = suppress(*drawn, nms)
    assert found(kept) == greedy(*drawn, nms)
    most = nms.most(*drawn[1].shape)
    assert kept.candidates <= most[0]
    assert kept.pairs <= most[1]
    assert len(kept.objects) <= most[2]


@settings(max_examples=80)
@given(st.lists(proposals(), min_size=1, max_size=4), SETTINGS, st.sampled_from([None, 5, 50]), st.booleans())
def test_images_of_a_batch_are_on_their_own(
    drawn: list[tuple[Tensor, Tensor]], nms: NMS, limit: int | None, levels: bool
) -> None:
    count, classes = (min(size) for size in zip(*(scores.shape for _, scores in drawn), strict=True))
    nms = replace(nms, max_pairs=limit, levels=(count // 3, count - count // 3) if levels else ())
    boxes, scores = (
        torch.stack([part[:count, :size] for part in parts])
        for parts, size in zip(zip(*drawn, strict=True), (4, classes), strict=True)
    )
    together = suppress_all(boxes, scores, nms)
    for number, (box, labels, counts) in enumerate(zip(boxes, scores, together.counts.tolist(), strict=True)):
        alone = suppress(box, labels, nms)
        assert together.box[together.image == number].tolist() == alone.index.tolist()
        assert together.labels[together.image == number].tolist() == alone.objects.labels.tolist()
        assert counts == list(found_counts(alone))


def found(kept: Kept) -> tuple[list[int], list[int], int, int]:
    """Return what :func:`greedy` returns."""
    return kept.index.tolist(), kept.objects.labels.tolist(), kept.candidates, kept.pairs


@settings(max_examples=80)
@given(proposals(), SETTINGS, st.floats(0, 1))
def test_the_best_of_each_level_are_compared(drawn: tuple[Tensor, Tensor], nms: NMS, share: float) -> None:
    count = len(drawn[0])
    first = round(share * count)
    nms = replace(nms, levels=(first, count - first))
    kept = suppress(*drawn, nms)
    assert found(kept) == greedy(*drawn, nms)
    assert all(got <= most for got, most in zip(found_counts(kept), nms.most(*drawn[1].shape), strict=True))


def found_counts(kept: Kept) -> tuple[int, int, int]:
    """Return what :meth:`NMS.most` bounds."""
    return kept.candidates, kept.pairs, len(kept.objects)


@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.builds(
        NMS,
        conf=st.just(0.0),
        max_nms=st.sampled_from([4, 100]),
        multi_label=st.booleans(),
        agnostic=st.booleans(),
        topk=st.sampled_from([None, 2, 5]),
    ),
)
def test_some_boxes_reach_the_static_bound(count: int, classes: int, nms: NMS) -> None:
    corner = 4.0 * torch.arange(count)[:, None]
    boxes = corner + torch.tensor([0.0, 0, 1, 1])
    if nms.agnostic and nms.multi_label:  # a box overlaps itself: only without suppression are all compared
        nms = replace(nms, iou=1.0)
    lone = (torch.arange(classes) == 0).expand(count, -1)  # all of one class: most pairs
    spread = torch.arange(classes) == torch.arange(count)[:, None] % classes  # all classes: most candidates of each
    both = torch.arange(classes) / 100 + 0.5  # all classes of all boxes, one class after another
    kept = [suppress(boxes, scores.float().expand(count, classes), nms) for scores in (lone, spread, both)]
    reached = [max(each) for each in zip(*map(found_counts, kept), strict=True)]
    assert reached[0] == nms.most(count, classes)[0]
    if nms.multi_label or nms.topk is None:
        assert tuple(reached) == nms.most(count, classes)


@settings(max_examples=60)
@given(st.integers(0, 2**20), st.sampled_from([2.0, 30.0, 1e30]), st.sampled_from([0.0, 0.1, 1 / 3, 0.45, 0.9]))
def test_overlaps_are_those_of_torch_to_the_bit(seed: int, spread: float, iou: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(40, 2, generator=rng) * spread
    boxes = torch.cat([corner, corner + 4 * torch.rand(40, 2, generator=rng) - 0.5], 1)
    expected = box_iou(boxes, boxes[:9]) > iou
    assert overlap_more(boxes.numpy().T, boxes[:9].numpy().T, iou).tolist() == expected.tolist()


@settings(max_examples=40)
@given(proposals(), st.integers(1, 60))
def test_a_time_limit_drops_the_worst_candidates(drawn: tuple[Tensor, Tensor], limit: int) -> None:
    whole, cut = suppress(*drawn, NMS(agnostic=True)), suppress(*drawn, NMS(agnostic=True, max_pairs=limit))
    assert cut.pairs <= limit
    assert cut.index.tolist() == whole.index.tolist()[: len(cut.index)]
    assert (cut.pairs == whole.pairs) == (whole.pairs <= limit)


def test_disjoint_boxes_reach_the_static_bound() -> None:
    corner = 4.0 * torch.arange(700)[:, None]
    boxes, scores = corner + torch.tensor([0.0, 0, 1, 1]), torch.ones(700, 1)
    kept = suppress(boxes, scores, NMS())
    assert (kept.candidates, kept.pairs, len(kept.objects)) == NMS().most(700)


def test_nothing_is_kept_of_nothing() -> None:
    kept = suppress(torch.zeros(5, 4), torch.zeros(5, 2), NMS())
    assert (len(kept.objects), kept.candidates, kept.pairs) == (0, 0, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_and_boxes_must_be_numbers(value: float) -> None:
    with pytest.raises(UsageError, match="expected finite boxes and scores"):
        suppress(torch.zeros(2, 4), torch.tensor([[0.1], [value]]), NMS())
    with pytest.raises(UsageError, match="expected finite boxes and scores"):
        suppress(torch.full((2, 4), value), torch.zeros(2, 1), NMS())


@pytest.mark.parametrize(
    "wrong", [{"conf": 1.1}, {"iou": -0.1}, {"max_nms": 0}, {"max_det": 0}, {"max_pairs": 0}, {"topk": 0}]
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"expected {next(iter(wrong))}"):
        NMS(**wrong)  # type: ignore[arg-type]


def test_levels_belong_to_a_detector() -> None:
    with pytest.raises(UsageError, match="expected levels of 5 boxes together, got 7"):
        NMS(topk=1, levels=(3, 4)).most(5)
