from __future__ import annotations

from typing import Literal

import pytest
import torch
from candidate_targets import BoxTracker, random_detector
from hypothesis import given
from hypothesis import strategies as st

from torpor.attacks.detector.slowtrack import Light, LitGroups, SlowTrack, regions, schedule
from torpor.attacks.detector.trails import Trail
from torpor.attacks.registry import load_attack
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.space import VideoSpace
from torpor.core.work import Work
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit

KEEPS: tuple[Literal["cost", "region", "tracker"], ...] = ("cost", "region", "tracker")


@pytest.mark.parametrize("buffer", [6, 8, 15, 30])
def test_as_many_regions_are_lit_as_the_buffer_has_frames(buffer: int) -> None:
    lights = schedule(20 * buffer, buffer)
    assert len({light.region for light in lights}) == buffer


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 4))
def test_no_track_dies_once_it_has_begun(length: int, buffer: int, confirm: int) -> None:
    last: dict[int, int] = {}
    now = 0
    for light in schedule(length, buffer, confirm):
        assert light.start == now  # each frame lights one region
        if light.region in last:
            assert light.frames == 1
            assert light.start - last[light.region] - 1 <= buffer
        else:
            assert light.region == len(last)
            assert light.frames == min(confirm, length - light.start)
        now += light.frames
        last[light.region] = now - 1
    assert now == length
    assert len(last) <= buffer + (confirm == 1)


def test_tracks_of_lit_regions_all_live_at_once() -> None:
    """What the schedule promises, on a tracker: in the end every region has its tracks."""
    buffer = 6
    target = BoxTracker(LampTarget(8, 12), frames=60, buffer=buffer)
    boxes = target.signals(torch.zeros(1, 60, 1, 8, 12)).boxes[0]
    of_box = regions(boxes, buffer, (8, 12))
    video = torch.zeros(60, 6)
    for light in schedule(60, buffer):
        video[light.start : light.start + light.frames] = (of_box == light.region).to(torch.float32)
    shown = video.view(60, 1, 2, 3).repeat_interleave(4, 2).repeat_interleave(4, 3)
    frames = target.run(shown.unsqueeze(0)).outputs[0]
    alive = target.alive(frames)
    assert alive[-1] == 6
    assert max(len(frame) for frame in frames) == 1


@pytest.mark.parametrize("size", [(608, 1088), (800, 1440), (64, 64), (32, 256)])
@pytest.mark.parametrize("count", [6, 7, 30])
def test_regions_are_never_empty_and_hang_together(size: tuple[int, int], count: int) -> None:
    boxes = []
    for stride in (8, 16, 32):
        down, across = torch.meshgrid(torch.arange(size[0] // stride), torch.arange(size[1] // stride), indexing="ij")
        middle = stride * (torch.stack([across, down], -1).flatten(0, 1) + 0.5)
        boxes.append(torch.cat([middle - stride, middle + stride], 1))
    anchors = torch.cat(boxes)
    found = regions(anchors, count, size)
    counts = found.bincount(minlength=count)
    assert len(counts) == count
    assert counts.max() - counts.min() <= 2
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    spread = torch.stack([middle[found == number].amax(0) - middle[found == number].amin(0) for number in range(count)])
    assert (spread.prod(1) < 4 * size[0] * size[1] / count).all()


def test_the_lit_region_weighs_eleven_times_as_much() -> None:
    scores = torch.tensor([[[0.5, 0.1], [0.0, 0.5]]])
    loss = Light(torch.tensor([[True, False]]))(
        CandidateSignals(torch.zeros(1, 2, 4), scores, Work(torch.zeros(1, 3, dtype=torch.int64))), 0, {}
    )
    assert loss.tolist() == [pytest.approx(11 * 0.25 + 0.25)]


def test_unbounded_steps_have_the_papers_length_per_value_and_use_no_budget_up() -> None:
    target = BoxTracker(random_detector(), frames=2, buffer=3)
    video = torch.full((1, *target.space.shape), 0.5)
    attack = load_attack("slowtrack-unbounded", steps=20, shape=target.space.shape)
    assert attack.budget.eps == pytest.approx(video[0, 0].numel() ** 0.5)
    found = attack(target, target.space.snap(video)).candidates.inputs - video
    assert 0 < found.square().mean().sqrt() <= 20 * 1.5 / (3 * 608 * 1088) ** 0.5 + 0.5 / 255


def test_two_frames_of_a_new_region_are_changed_alike_and_the_others_alone() -> None:
    target = BoxTracker(random_detector(), frames=6, buffer=3)
    video = target.space.snap(
        0.5 + 0.2 * torch.rand(1, *target.space.shape, generator=torch.Generator().manual_seed(0))
    )
    result = SlowTrack(eps=0.1, steps=6)(target, video)
    change = ((result.candidates.inputs - video) * 255).round()[0]
    pairs = {light.start for light in schedule(6, 3) if light.frames == 2}
    assert pairs == {0, 2}
    for start in pairs:
        assert change[start].equal(change[start + 1])
    assert not change[4].equal(change[5])
    assert change.abs().amax((1, 2, 3)).tolist() == [25] * 6


def test_groups_that_are_kept_by_their_region_cost_its_candidates() -> None:
    target = LampTarget(8, 12)  # six cells, of which the first four shine
    frames = lit(4, 8, 12)[0].expand(1, 2, -1, -1, -1)
    region = torch.tensor([[False, True, False, True, True, False] * 2])
    groups = LitGroups(target, VideoSpace((2, 1, 8, 12)), region)
    assert groups.prices.cost(groups.signals(frames).work).tolist() == [4]  # cells 1 and 3 of both frames
    assert groups.prices.cost(groups.max_work(frames)).tolist() == [6]
    assert load_attack("slowtrack:keep=region", eps=0.1).keep == "region"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="cost, region or tracker"):
        SlowTrack(keep="last")  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", ["cost", "region", "tracker"])
def test_all_ways_to_keep_an_iterate_keep_tracks_alive(keep: str) -> None:
    target = BoxTracker(LampTarget(nms=NMS(max_det=4)), frames=30, buffer=6)
    video = target.space.snap(
        0.2 + 0.02 * torch.rand(1, *target.space.shape, generator=torch.Generator().manual_seed(3))
    )
    attack = load_attack(f"slowtrack:keep={keep}", norm="L2", eps=0.8, steps=60)
    assert target.alive(attack(target, video).attacked.outputs[0])[-5:] == [24] * 5


def test_videos_are_put_together_from_iterates_of_the_same_step() -> None:
    trail, frames = Trail(8), [torch.tensor([[1], [3]]), torch.tensor([[0, 2]])]
    for rows, size, value in ((3, 1, 0), (1, 1, 10), (2, 2, 20)):  # groups of one frame in two chunks, then pairs
        trail.begin()
        for step in range(9):
            trail.note(torch.full((rows, size, 1, 1, 1), float(value + step)))
    videos = list(trail.videos(torch.zeros(2, 4, 1, 1, 1), frames))
    assert len(videos) == 8
    assert videos[0].flatten(1).tolist() == [[21, 1, 21, 1], [21, 1, 21, 11]]
    assert videos[-1].flatten(1).tolist() == [[28, 8, 28, 8], [28, 8, 28, 18]]


def test_videos_that_are_kept_by_their_tracker_give_it_most_work_along_the_way() -> None:
    target = BoxTracker(random_detector(), frames=6, buffer=3)
    video = target.space.snap(
        0.5 + 0.2 * torch.rand(2, *target.space.shape, generator=torch.Generator().manual_seed(0))
    )
    found = {keep: SlowTrack(eps=0.1, steps=16, keep=keep)(target, video).candidates for keep in KEEPS}
    alive = {keep: target.run(each.inputs).work.counts[:, -1].sum().item() for keep, each in found.items()}
    assert alive["tracker"] >= max(alive.values())
    spent = found["tracker"].forwards - found["cost"].forwards
    assert spent.tolist() == [8, 8]


def test_it_takes_a_tracker_with_a_buffer() -> None:
    target = BoxTracker(LampTarget(), frames=2, buffer=1)
    target.buffer = 0
    assert not SlowTrack.applies_to(target)
    target.buffer = 1
    assert SlowTrack.applies_to(target)
    with pytest.raises(UsageError, match="an attack on detection with image inputs, got slowtrack"):
        SlowTrack()(LampTarget(), torch.zeros(1, 1, 16, 24))
    del target.buffer
    assert not SlowTrack.applies_to(target)
