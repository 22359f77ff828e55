from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torpor.core.errors import DataError, UsageError
from torpor.core.objects import Frames, Objects, to_json
from torpor.core.signals import CandidateSignals
from torpor.meters.calibration import _not_identifiable
from torpor.targets.detector.detection import DetectorTarget, PerObject
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import CELL, Lamps, LampTarget
from torpor.targets.detector.track_work import SORT, ByteTrack, Tracking
from torpor.targets.detector.tracking import TrackerTarget

pytest.importorskip("trackers")

BRIGHT = 0.9


def lamps(frames: int = 4, tracker: Tracking | None = None, nms: NMS | None = None) -> TrackerTarget:
    return TrackerTarget(LampTarget(8, 12, nms), tracker, frames=frames)


def film(*lit: str, bright: float = BRIGHT) -> Tensor:
    """Return a video ``[1, T, 1, 8, 12]``; each text has a letter per cell, ``x`` for a bright one."""
    cells = torch.tensor([[bright * (cell == "x") for cell in frame] for frame in lit]).view(1, len(lit), 1, 2, 3)
    return cells.repeat_interleave(CELL, 3).repeat_interleave(CELL, 4)


def noise(target: TrackerTarget, count: int, seed: int = 0) -> Tensor:
    """Return videos of which each cell is bright in some frames."""
    rng = torch.Generator().manual_seed(seed)
    cells = torch.rand(count, target.frames, 1, 2, 3, generator=rng)
    return target.space.snap(cells.repeat_interleave(CELL, 3).repeat_interleave(CELL, 4))


def names(target: TrackerTarget) -> list[str]:
    return [unit.name for unit in target.units]


def test_units_are_counted_frame_by_frame() -> None:
    target = lamps()
    outcome = target.run(film("x..x..", "x..x..", "......", "x....."))
    assert dict(zip(names(target), outcome.work.counts[0].tolist(), strict=True)) == {
        "backbone": 4,
        "candidate": 5,
        "nms_pair": 2,
        "track_step": 4,
        "track_alive": 6,
        "track_update": 5,
        "association_pair": 4 + 2,
    }
    assert [unit.stage for unit in target.units] == ["detector", "nms", "nms", *["tracker"] * 4]
    ids = [frame.ids.tolist() for frame in outcome.outputs[0] if frame.ids is not None]
    assert ids == [[-1, -1], [0, 1], [], [0]]


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([ByteTrack(buffer=1), SORT(buffer=2, confirm=1)]))
def test_a_video_gives_the_same_in_any_batch_and_never_exceeds_the_bound(seed: int, tracker: Tracking) -> None:
    target = lamps(tracker=tracker, nms=NMS(conf=0.5, max_det=4))
    videos = noise(target, 4, seed)
    outcome = target.run(videos)
    for row in range(len(videos)):
        alone = target.run(videos[row : row + 1])
        assert alone.work.counts.equal(outcome.work.counts[row : row + 1])
        for frame, other in zip(alone.outputs[0], outcome.outputs[row], strict=True):
            assert to_json(frame) == to_json(other)
    assert (outcome.work.counts <= target.max_work(videos).counts).all()
    assert (outcome.work.counts >= target.least_work().counts).all()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_all_lit_reaches_the_bound_of_a_short_video(frames: int) -> None:
    target = lamps(frames, SORT(confirm=3))
    full = target.run(film(*["xxxxxx"] * frames)).work.counts
    assert full.equal(target.max_work(torch.zeros(1, *target.space.shape)).counts) == (frames < 3)
    assert (full <= target.static_work().counts).all()


def test_a_full_cap_hands_on_no_more() -> None:
    target = lamps(2, nms=NMS(max_det=2))
    outcome = target.run(film("xxxxxx", "xxxxxx"))
    assert [len(frame) for frame in outcome.outputs[0]] == [2, 2]
    assert outcome.work.counts[0, -3:].tolist() == [2, 4, 4]


def test_videos_of_one_dark_frame() -> None:
    target = lamps(1)
    outcome = target.run(film("......"))
    assert outcome.work.counts.equal(target.least_work().counts)
    assert len(outcome.outputs[0][0]) == 0


def test_work_of_the_per_object_stage_is_the_detectors() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    detector = DetectorTarget(Lamps(), input_shape=(1, 8, 12), per_object=PerObject(network, 2))
    target = TrackerTarget(detector, frames=2)
    assert names(target)[3] == "object"
    counts = target.run(film("xx....", "x.....")).work.counts
    assert counts[:, 3].tolist() == [3]
    assert (counts <= target.static_work().counts).all()


def test_signals_are_the_detectors_of_each_frame() -> None:
    target = lamps(3)
    videos = noise(target, 2).requires_grad_()
    signals = target.signals(videos)
    assert isinstance(signals, CandidateSignals)
    assert signals.boxes.shape == (6, 6, 4)
    signals.scores.sum().backward()
    assert videos.grad is not None
    assert (videos.grad > 0).all()
    per_frame = signals.work.counts.unflatten(0, (2, 3)).sum(1)
    assert per_frame.equal(target.run(videos.detach()).work.counts[:, :3])
    assert target.detector.signals(videos[0].detach()).scores.equal(signals.scores[:3].detach())


@pytest.mark.parametrize("tracker", [ByteTrack(), SORT(), ByteTrack(buffer=0), SORT(confirm=1, buffer=0)])
@pytest.mark.parametrize("kept", [1, 6])
def test_probes_single_out_every_unit(tracker: Tracking, kept: int) -> None:
    target = lamps(2, tracker, NMS(max_det=kept))
    probes = list(target.probes(noise(target, 1)))
    counts = torch.cat([work.counts for work, _ in probes]).double().numpy()
    assert len(_not_identifiable(counts)) == 0
    for _, call in probes:
        call()


def still(count: int, label: int = 0, number: int = 0) -> Frames:
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(count, 1)
    labels = torch.full((count,), label)
    return (Objects(boxes, labels, torch.ones(count), torch.full((count,), number)),) * 2


def test_utility_is_the_accuracy_of_tracking_and_nan_without_references() -> None:
    target = lamps(2)
    assert target.utility_name == "MOTA"
    assert target.utility([still(1)] * 2, [still(1), still(0)]).tolist() == [1, -1]
    assert target.utility([still(1)], ()).isnan().all()


def test_videos_agree_if_all_clean_objects_are_found_again() -> None:
    target = lamps(2)
    found, clean = [still(1, number=3), still(1, label=1), still(0), still(1)], [still(1)] * 3 + [still(0)]
    assert target.agreement(found, clean).tolist() == [True, False, False, True]


def test_attacks_aim_at_what_is_found_and_references_are_videos() -> None:
    target = lamps(2)
    assert target.labels([still(1)], [still(0)])[0][0].boxes.shape == (1, 4)
    with pytest.raises(DataError, match="expected a tuple of Objects for each video, got Objects"):
        target.labels([still(1)], [still(1)[0]])


def test_settings_are_in_reports_and_fingerprints() -> None:
    one, other = lamps(tracker=ByteTrack()), lamps(tracker=ByteTrack(buffer=10))
    assert one.details()["tracker"]["buffer"] == one.buffer == 30
    assert one.details()["tracker"]["name"] == "bytetrack"
    assert one.details()["nms"]["max_det"] == 300
    prints = {one.fingerprint(), other.fingerprint(), lamps(nms=NMS(conf=0.3)).fingerprint(), lamps(5).fingerprint()}
    assert len(prints) == 4
    assert one.to(torch.device("cpu")) is one
    assert one.device == torch.device("cpu")


def test_wrong_videos_are_one_clear_sentence() -> None:
    with pytest.raises(UsageError, match="expected videos of 1 frame or more, got 0"):
        lamps(0)
    with pytest.raises(DataError, match=r"expected videos of shape \[B, 4, 1, 8, 12\]"):
        lamps(4).run(film("......"))
    with pytest.raises(DataError, match="expected data for tracker, got none"):
        lamps().data(None)


def test_the_bound_holds_where_every_class_of_a_box_counts() -> None:
    class SameBox(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            scores = F.avg_pool2d(images, 4).flatten(1).unsqueeze(2).expand(-1, -1, 3)
            boxes = torch.tensor([0.0, 0, 4, 4]).expand(*scores.shape[:2], 4)
            return boxes + 0 * F.conv2d(images, torch.ones(1, 1, 4, 4)).sum(), scores

    detector = DetectorTarget(SameBox(), input_shape=(1, 4, 4), nms=NMS(multi_label=True))
    target = TrackerTarget(detector, SORT(confirm=1), frames=4)
    work = target.run(torch.ones(1, 4, 1, 4, 4)).work.counts
    assert (work <= target.static_work().counts).all()
    assert work[0, -1] > 4 * 3  # of three classes
