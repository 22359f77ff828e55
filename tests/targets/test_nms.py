from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import torpor.targets.nms as module
from torpor.core.errors import UsageError
from torpor.core.objects import box_iou
from torpor.targets.nms import NMS, overlap_more, suppress


def greedy(boxes: Tensor, scores: Tensor, nms: NMS) -> tuple[list[int], int, int]:
    """Keep boxes one by one, the slow way: kept boxes, candidates and comparisons."""
    best, labels = scores.max(1)
    chosen = [row for row in range(len(boxes)) if best[row] > nms.conf]
    waiting = sorted(chosen, key=lambda row: -best[row].item())[: nms.max_nms]
    kept, pairs = [], 0
    while waiting:
        row = waiting.pop(0)
        kept.append(row)
        others = [other for other in waiting if nms.agnostic or labels[other] == labels[row]]
        pairs += len(others)
        gone = {other for other in others if (box_iou(boxes[[row]], boxes[[other]]) > nms.iou)}
        waiting = [other for other in waiting if other not in gone]
    return kept[: nms.max_det], len(chosen), pairs


@st.composite
def proposals(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw boxes that overlap much, some without area, and scores of which many are equal."""
    count, classes = draw(st.integers(0, 40)), draw(st.integers(1, 3))
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    corner = torch.randint(0, 6, (count, 2), generator=chance)
    side = torch.randint(0, 5, (count, 2), generator=chance)
    scores = torch.randint(0, 12, (count, classes), generator=chance) / 11
    return torch.cat([corner, corner + side], 1).to(torch.float32), scores


SETTINGS = st.builds(
    NMS,
    conf=st.sampled_from([0.0, 0.25, 0.6]),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.9]),
    max_nms=st.sampled_from([3, 20, 1000]),
    max_det=st.sampled_from([1, 5, 1000]),
    agnostic=st.booleans(),
)


@settings(max_examples=150)
@given(proposals(), SETTINGS, st.sampled_from([1, 4, 256]))
def test_blocks_keep_and_count_what_greedy_suppression_does(drawn: tuple[Tensor, Tensor], nms: NMS, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        kept = suppress(*drawn, nms)
    assert (kept.index.tolist(), kept.candidates, kept.pairs) == greedy(*drawn, nms)
    most = nms.most(len(drawn[0]))
    assert kept.candidates <= most[0]
    assert kept.pairs <= most[1]
    assert len(kept.objects) <= most[2]


@settings(max_examples=60)
@given(st.integers(0, 2**20), st.sampled_from([2.0, 30.0, 1e30]), st.sampled_from([0.0, 0.1, 1 / 3, 0.45, 0.9]))
def test_overlaps_are_those_of_torch_to_the_bit(seed: int, spread: float, iou: float) -> None:
    chance = torch.Generator().manual_seed(seed)
    corner = torch.rand(40, 2, generator=chance) * spread
    boxes = torch.cat([corner, corner + 4 * torch.rand(40, 2, generator=chance) - 0.5], 1)
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


@pytest.mark.parametrize("wrong", [{"conf": 1.1}, {"iou": -0.1}, {"max_nms": 0}, {"max_det": 0}, {"max_pairs": 0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"expected {next(iter(wrong))}"):
        NMS(**wrong)  # type: ignore[arg-type]
