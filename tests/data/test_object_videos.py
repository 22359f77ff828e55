from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from torpor.core.objects import Frames, to_json
from torpor.data.object_videos import COUNT, LENGTH, SPEED, SWAY, Mover, ObjectVideos
from torpor.data.sprite_sets import HEIGHT, WIDTH
from torpor.data.sprites import VISIBLE, Sprite

VIDEOS = 12


@pytest.fixture(scope="module")
def videos() -> list[Frames]:
    return [ObjectVideos().sample("test", number)[1] for number in range(VIDEOS)]


def test_a_video_is_a_function_of_split_and_number() -> None:
    batch = ObjectVideos(held_out=2).load("test")
    assert batch.inputs.dtype == torch.uint8
    assert tuple(batch.inputs.shape) == (2, LENGTH, 3, HEIGHT, WIDTH)
    video, frames = ObjectVideos().sample("test", 1)
    assert video.equal(batch.inputs[1])
    assert to_json(frames) == to_json(batch.references[1])
    assert not ObjectVideos().sample("train", 1)[0].equal(video)


def test_an_object_keeps_its_number_and_class(videos: list[Frames]) -> None:
    for frames in videos:
        label: dict[int, int] = {}
        for frame in frames:
            assert frame.ids is not None
            ids = frame.ids.tolist()
            assert len(set(ids)) == len(ids)
            for number, known in zip(ids, frame.labels.tolist(), strict=True):
                assert label.setdefault(number, known) == known
        assert len(label) <= COUNT[1]
        assert max(label) < COUNT[1]


def test_objects_enter_cross_and_leave(videos: list[Frames]) -> None:
    entered = left = crossed = 0
    for frames in videos:
        ids = [set() if frame.ids is None else set(frame.ids.tolist()) for frame in frames]
        entered += len(set().union(*ids) - ids[0])
        left += len(set().union(*ids) - ids[-1])
        crossed += sum(
            bool(number in before and number in after and number not in now)
            for before, now, after in zip(ids, ids[4:], ids[8:], strict=False)
            for number in before
        )
    assert entered >= VIDEOS
    assert left >= VIDEOS
    assert crossed > 0


def test_the_ground_truth_is_what_can_be_seen() -> None:
    frames = list(ObjectVideos().paint("test", 3))
    assert len(frames) == LENGTH
    for frame in frames:
        objects = frame.objects(ids=True)
        assert objects.ids is not None
        for number, sprite in enumerate(frame.sprites):
            seen = frame.owner == number
            there = seen.sum() >= VISIBLE * sprite.ink.sum()
            assert there == (number in objects.ids.tolist())
            if there:
                rows, columns = np.nonzero(seen)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert objects.boxes[objects.ids == number][0].tolist() == box


def test_movers_go_straight_on_and_sway() -> None:
    still = np.full((10, 10), 255, np.uint8)
    sprite = Sprite(0, 0, np.zeros((3, 10, 10), np.uint8), still)
    mover = Mover(sprite, (50.0, 40.0), 8.0, (2.0, -1.0), (0.0, 0.0), 24.0)
    assert mover.corner(8) == (45, 35)
    assert mover.corner(18) == (65, 25)
    swaying = Mover(sprite, (50.0, 40.0), 8.0, (2.0, -1.0), (3.0, 0.0), 24.0)
    assert swaying.corner(14) == (mover.corner(14)[0] + 3, mover.corner(14)[1])
    assert swaying.corner(20) == mover.corner(20)


def test_nothing_jumps(videos: list[Frames]) -> None:
    most = SPEED[1] + SWAY * 2 * np.pi / (LENGTH / 2) + 1  # a pixel for rounding
    for frames in videos:
        for before, now in pairwise(frames):
            assert before.ids is not None
            assert now.ids is not None
            for number in set(before.ids.tolist()) & set(now.ids.tolist()):
                one, other = before.boxes[before.ids == number][0], now.boxes[now.ids == number][0]
                whole = one[2:] - one[:2] == other[2:] - other[:2]  # neither covered nor cut off
                if whole.all():
                    assert (one - other).abs().max() <= most
