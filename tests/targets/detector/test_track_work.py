from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tracked import detections, nothing, videos

from torpor.core.errors import UsageError
from torpor.core.objects import Frames, Objects
from torpor.meters.flops import counting
from torpor.targets.detector.track_work import (
    SORT,
    ByteTrack,
    CountedTracker,
    Tracking,
    follow,
    predict_flops,
    update_flops,
)

pytest.importorskip("trackers")

SETTINGS: st.SearchStrategy[Tracking] = st.one_of(
    st.builds(ByteTrack, buffer=st.integers(0, 5), confirm=st.integers(1, 3), activation=st.sampled_from([0.3, 0.7])),
    st.builds(SORT, buffer=st.integers(0, 5), confirm=st.integers(1, 3), activation=st.sampled_from([0.0, 0.5])),
)


def by_library(frames: Frames, settings: Tracking) -> tuple[list[list[int]], Counter[str]]:
    """Return the ids that the bare library gives, and how often it did what; its own functions are counted."""
    import supervision
    import trackers
    from trackers.core.bytetrack.tracklet import ByteTrackTracklet
    from trackers.core.sort.tracklet import SORTTracklet

    calls: Counter[str] = Counter()

    def count(patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        inner = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401
            calls[name] += len(args[1]) * len(args[2]) if name == "compute" else 1
            return inner(*args, **kwargs)

        patch.setattr(owner, name, counted)

    tracker = getattr(trackers, settings.library)(**settings.arguments())
    ids = []
    with pytest.MonkeyPatch.context() as patch:
        for owner in (ByteTrackTracklet, SORTTracklet):
            for name in ("predict", "update", "__init__"):
                count(patch, owner, name)
        count(patch, trackers.IoU, "compute")
        for frame in frames:
            assert frame.scores is not None
            rows: dict[str, Any] = {"row": np.arange(len(frame))}
            seen = supervision.Detections(frame.boxes.numpy(), confidence=frame.scores.numpy(), data=rows)
            followed = tracker.update(seen)
            numbers = dict(zip(followed.data.get("row", []), followed.tracker_id, strict=True))
            ids.append([int(numbers[row]) for row in range(len(frame))])
    return ids, calls


@settings(max_examples=80)
@given(videos(), SETTINGS)
def test_results_are_the_librarys_and_counts_are_of_what_it_does(frames: Frames, tracking: Tracking) -> None:
    expected, calls = by_library(frames, tracking)
    followed, work = follow(frames, tracking)
    assert [frame.ids.tolist() for frame in followed if frame.ids is not None] == expected
    for frame, seen in zip(followed, frames, strict=True):
        assert frame.boxes.equal(seen.boxes)
        assert frame.labels.equal(seen.labels)
    assert work == (calls["predict"], calls["update"] + calls["__init__"], calls["compute"])


@settings(max_examples=80)
@given(videos(cap=4), SETTINGS)
def test_no_video_exceeds_the_bound(frames: Frames, tracking: Tracking) -> None:
    tracker = CountedTracker(tracking)
    for number, frame in enumerate(frames):
        alive = tracker.step(frame)[1][0]
        assert alive <= tracking.most_alive(number, 4)
    for got, most in zip(follow(frames, tracking)[1], tracking.most(len(frames), 4), strict=True):
        assert got <= most


def turns(tracking: Tracking, frames: int, cap: int) -> Frames:
    """Light ``cap`` new places for as long as a track needs to be confirmed, others next, and again before they die.

    The schedule of SlowTrack: the oldest come back as soon as they would be dropped, new ones are born till then.
    """
    last: list[int] = []
    video = []
    left = 0
    for frame in range(frames):
        oldest = min(range(len(last)), key=lambda group: last[group], default=None)
        if left > 0:
            group = len(last) - 1
            left -= 1
        elif oldest is not None and frame + tracking.confirm - last[oldest] > tracking.buffer + 1:
            group = oldest
        else:
            group, left = len(last), tracking.confirm - 1
            last.append(frame)
        last[group] = frame
        corner = torch.stack([torch.arange(cap) * 20.0, torch.full((cap,), group * 20.0)], 1)
        video.append(detections(torch.cat([corner, corner + 10], 1), torch.ones(cap)))
    return tuple(video)


@pytest.mark.parametrize(
    ("tracking", "frames"),
    [(ByteTrack(buffer=30), 20), (ByteTrack(buffer=6), 60), (SORT(buffer=30), 30), (SORT(buffer=8, confirm=1), 40)],
)
def test_taking_turns_comes_close_to_the_bound(tracking: Tracking, frames: int) -> None:
    alive, taken, pairs = follow(turns(tracking, frames, 5), tracking)[1]
    most = tracking.most(frames, 5)
    assert taken == most[1]
    assert 0.75 * most[0] < alive <= most[0]
    assert 0.75 * most[2] < pairs <= most[2]


@pytest.mark.parametrize("buffer", [0, 1, 4])
def test_a_confirmed_track_survives_the_buffer_and_is_met_once_more(buffer: int) -> None:
    tracker = CountedTracker(ByteTrack(buffer=buffer))
    seen = detections(torch.tensor([[0.0, 0, 8, 8]]), torch.ones(1))
    for _ in range(2):
        tracker.step(seen)
    assert [tracker.step(nothing())[1][0] for _ in range(buffer + 3)] == [1] * (buffer + 1) + [0, 0]


def test_unlikely_detections_are_compared_with_what_is_left() -> None:
    tracker = CountedTracker(ByteTrack())
    boxes = torch.tensor([[0.0, 0, 8, 8], [20, 0, 28, 8], [40, 0, 48, 8]])
    for _ in range(2):
        tracker.step(detections(boxes, torch.ones(3)))
    followed, work = tracker.step(detections(boxes, torch.tensor([0.9, 0.8, 0.3])))
    assert followed.ids is not None
    assert followed.ids.tolist() == [0, 1, 2]
    assert work == (3, 3, 3 * 2 + 1 * 1)


def test_nothing_is_followed_in_nothing() -> None:
    followed, work = follow([nothing()] * 3, SORT())
    assert [len(frame) for frame in followed] == [0, 0, 0]
    assert work == (0, 0, 0)


def test_flops_are_those_of_the_filters_matrices() -> None:
    state, measured = torch.eye(8), torch.eye(4, 8)
    with counting() as predict:
        state @ torch.ones(8, 1)
        state @ state @ state.T
    assert predict_flops() == predict.flops + 8 * 8
    gain, noise = torch.ones(8, 4), torch.eye(4)
    with counting() as update:
        measured @ torch.ones(8, 1)
        measured @ (state @ measured.T)
        (state @ measured.T) @ noise  # counts the gain, and the product that it shares once too often
        gain @ torch.ones(4, 1)
        gain @ measured
        state @ state @ state.T
        gain @ noise @ gain.T
    sums = 4 + 4 * 4 + 8 + 8 * 8 + 8 * 8
    assert update_flops() == update.flops - 2 * 8 * 8 * 4 + sums + 2 * 4**3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"buffer": -1}, "buffer"), ({"confirm": 0}, "confirm"), ({"high": 1.5}, "high"), ({"overlap": -0.1}, "overlap")],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"expected .*{message}"):
        ByteTrack(**wrong)


def test_a_missing_library_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(UsageError, match=r"expected the library trackers for sort.*pip install 'torpor\[tracking\]'"):
        CountedTracker(SORT())


def test_objects_keep_their_order() -> None:
    tracker = CountedTracker(ByteTrack())
    boxes = torch.tensor([[0.0, 0, 8, 8], [20, 0, 28, 8]])
    seen = Objects(boxes, torch.tensor([4, 5]), torch.tensor([0.9, 0.2]))
    assert tracker.step(seen)[0].labels.tolist() == [4, 5]
