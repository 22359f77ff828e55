"""MOTA and IDF1 against motmetrics, an implementation of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.core.objects import UNTRACKED, Frames, Objects
from torpor.metrics.tracking import OVERLAP, TrackingScores, tracking_scores

A, B = [0.0, 0, 10, 10], [20.0, 0, 30, 10]


def frame(**boxes: list[float]) -> Objects:
    """Return objects whose numbers are the letters of the alphabet that they are named by."""
    numbers = torch.tensor([ord(name) for name in boxes], dtype=torch.int64)
    rows = torch.tensor(list(boxes.values()), dtype=torch.float32).view(-1, 4)
    return Objects(rows, torch.zeros_like(numbers), ids=numbers)


def by_motmetrics(found: Frames, true: Frames) -> dict[str, float]:
    """Score one video by motmetrics; its own IoU asks numpy for what numpy 2 has no more."""
    mm = pytest.importorskip("motmetrics")
    from motmetrics.distances import boxiou

    def sides(objects: Objects) -> np.ndarray:
        return torch.cat([objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]], 1).double().numpy()

    memory = mm.MOTAccumulator(auto_id=True)
    for seen, there in zip(found, true, strict=True):
        overlap = boxiou(sides(there)[:, None], sides(seen)[None]).reshape(len(there), len(seen))
        assert seen.ids is not None
        assert there.ids is not None
        memory.update(there.ids.tolist(), seen.ids.tolist(), np.where(overlap >= OVERLAP, 1 - overlap, np.nan))
    names = ["num_false_positives", "num_misses", "num_switches", "mota", "idf1", "num_objects", "num_predictions"]
    scores = mm.metrics.create().compute(memory, metrics=[*names, "idtp"], name="video")
    return {name: float(scores[name].iloc[0]) for name in scores.columns}


def compare(found: Frames, true: Frames) -> TrackingScores:
    """Assert that both say the same."""
    scores, expected = tracking_scores([found], [true]), by_motmetrics(found, true)
    assert scores == TrackingScores(
        objects=int(expected["num_objects"]),
        found=int(expected["num_predictions"]),
        misses=int(expected["num_misses"]),
        false_positives=int(expected["num_false_positives"]),
        switches=int(expected["num_switches"]),
        identified=int(expected["idtp"]),
    )
    if scores.objects:
        assert scores.mota == pytest.approx(expected["mota"])
        assert scores.idf1 == pytest.approx(expected["idf1"])
    return scores


@st.composite
def videos(draw: st.DrawFn) -> tuple[Frames, Frames]:
    """Draw objects that move a little, and tracks that follow them, swap, leave and come, all close together."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    frames, count = draw(st.integers(1, 8)), draw(st.integers(0, 5))
    place = torch.rand(count, 2, generator=rng) * 8
    found, true = [], []
    for _ in range(frames):
        place = place + torch.randn(count, 2, generator=rng)
        boxes = torch.cat([place, place + 6 + torch.rand(count, 2, generator=rng)], 1)
        here = torch.rand(count, generator=rng) < 0.8
        true.append(Objects(boxes[here], torch.zeros(int(here.sum()), dtype=torch.int64), ids=here.nonzero().flatten()))
        seen = torch.rand(count, generator=rng) < 0.8
        near = boxes[seen] + torch.randn(int(seen.sum()), 4, generator=rng) * 0.8
        numbers = torch.randperm(count + 2, generator=rng)[: len(near)]
        if torch.rand(1, generator=rng) < 0.7:
            numbers = seen.nonzero().flatten()
        found.append(Objects(near, torch.zeros(len(near), dtype=torch.int64), ids=numbers))
    return tuple(found), tuple(true)


@settings(max_examples=60)
@given(videos())
def test_equals_motmetrics(drawn: tuple[Frames, Frames]) -> None:
    compare(*drawn)


def test_a_lost_object_that_returns_under_another_number_is_a_switch() -> None:
    scores = compare((frame(x=A), frame(), frame(y=A)), (frame(a=A),) * 3)
    assert (scores.misses, scores.switches, scores.false_positives) == (1, 1, 0)
    assert scores.idf1 == pytest.approx(2 / 5)


def test_an_object_stays_with_its_track_though_another_overlaps_it_more() -> None:
    near = [0.0, 0, 10, 7]
    scores = compare((frame(x=A), frame(x=near, y=A)), (frame(a=A),) * 2)
    assert (scores.switches, scores.false_positives) == (0, 1)


def test_objects_that_swap_their_numbers_are_two_switches() -> None:
    scores = compare((frame(x=A, y=B), frame(x=B, y=A)), (frame(a=A, b=B),) * 2)
    assert (scores.switches, scores.mota) == (2, 0.5)


def test_nothing_found_and_nothing_there() -> None:
    assert compare((frame(),), (frame(a=A),)).mota == 0
    assert compare((frame(x=A),), (frame(),)).mota == 0
    scores = compare((frame(),), (frame(),))
    assert (scores.mota, scores.idf1) == (1, 1)


def test_what_no_track_follows_does_not_count_and_classes_play_no_part() -> None:
    found = Objects(torch.tensor([A, B]), torch.tensor([3, 4]), torch.ones(2), torch.tensor([0, UNTRACKED]))
    assert tracking_scores([(found,)], [(frame(a=A),)]).mota == 1


def test_videos_add_up() -> None:
    one, other = ((frame(x=A),), (frame(a=A),)), ((frame(),), (frame(a=A),))
    both = tracking_scores([one[0], other[0]], [one[1], other[1]])
    assert (both.mota, both.misses) == (0.5, 1)


def test_objects_need_different_ids() -> None:
    bare = Objects(torch.tensor([A]), torch.tensor([0]))
    with pytest.raises(UsageError, match="expected objects with ids"):
        tracking_scores([(bare,)], [(frame(a=A),)])
    twice = Objects(torch.tensor([A, B]), torch.tensor([0, 0]), ids=torch.tensor([1, 1]))
    with pytest.raises(UsageError, match="expected ids that differ"):
        tracking_scores([(twice,)], [(frame(a=A),)])
