"""Targets that follow objects through videos: a detector, and a tracker that numbers what it finds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import DataError, UsageError
from torpor.core.objects import Frames, Objects, still_found
from torpor.core.signals import CandidateSignals
from torpor.core.space import VideoSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.metrics.tracking import tracking_scores
from torpor.targets.detector.contract import CandidateTarget
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS, PAIR_FLOPS
from torpor.targets.detector.track_work import ByteTrack, CountedTracker, Tracking, follow, predict_flops, update_flops

STEP = "track_step"
"""Name of the unit that runs once per frame; its FLOPs are in the others."""
ALIVE = "track_alive"
"""Name of the unit that runs once in each frame for each track that the frame meets: a prediction."""
UPDATE = "track_update"
"""Name of the unit that runs once for each detection that a track takes in: a correction, or a new filter's set-up."""
ASSOCIATION = "association_pair"
"""Name of the unit that runs once for each pair of a track and a detection whose overlap is computed."""


class TrackerTarget(CandidateTarget):
    """A detector and a tracker as deployed: frame by frame, video by video, so work never depends on neighbors.

    Outputs are, for each video, a tuple with the :class:`Objects` of each frame: all that the detector keeps, with the
    numbers of their tracks, :data:`~torpor.core.objects.UNTRACKED` where no confirmed track follows them.

    Units: those of the detector, then of the tracker ``track_step``, each frame; ``track_alive``, each track that a
    frame meets; ``track_update``, each detection that a track takes in; ``association_pair``, each pair of a track and
    a detection that is compared; and ``downstream``, each object that a track follows, if it has a price. The solver
    that assigns one to the other has no unit: the time that it takes goes into the price of a pair.

    Args:
        detector: what looks at each frame; it is shared, not copied.
        tracker: which tracker, and its caps.
        frames: of a video.
        name: shown in reports.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).

    Raises:
        UsageError: if there are no frames, or the extra ``tracking`` is not installed.
    """

    mechanism = "tracking"
    space: VideoSpace

    def __init__(
        self,
        detector: DetectorTarget,
        tracker: Tracking | None = None,
        *,
        frames: int,
        name: str = "tracker",
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        if frames < 1:
            raise UsageError(f"expected videos of 1 frame or more, got {frames}")
        self._detector, self.tracker, self.frames = detector, tracker or ByteTrack(), frames
        CountedTracker(self.tracker)  # fails now if the library is missing
        self.name, self._data = name, data
        self.space = VideoSpace((frames, *detector.space.shape))
        self.classes, self.nms = detector.classes, detector.nms
        self.units = (
            *detector.units,
            Unit(STEP, 0, "tracker"),
            Unit(ALIVE, predict_flops(), "tracker"),
            Unit(UPDATE, update_flops(), "tracker"),
            Unit(ASSOCIATION, PAIR_FLOPS, "tracker"),
        )

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the detector is; trackers run on the CPU."""
        return self._detector.device

    @property
    def detector(self) -> DetectorTarget:
        """The part that looks at one frame at a time; with a price per object, so that attacks on frames heed it."""
        return self._detector if self.downstream is None else self._detector.with_downstream(self.downstream)

    @property
    def buffer(self) -> int:
        """Frames that a confirmed track survives without a match."""
        return self.tracker.buffer

    @property
    def confirm(self) -> int:
        """Matches in a row that begin a track."""
        return self.tracker.confirm

    def run(self, inputs: Tensor) -> Outcome:
        """Return the :class:`Objects` of each frame of each video ``[B, T, C, H, W]``, and each video's work.

        Raises:
            UsageError: if boxes or scores are NaN.
        """
        outputs, work = zip(*map(self._watch, self.space.check(inputs).to(self.device)), strict=True)
        return Outcome(outputs, Work(torch.tensor(work)))

    def _watch(self, video: Tensor) -> tuple[Frames, list[int]]:
        """Return the objects of one video ``[T, C, H, W]``, and how often each unit ran."""
        tracker, frames = CountedTracker(self.tracker), []
        work = [0] * len(self.units)
        for image in video:  # one after the other, as a camera sends them
            objects, seen = self._detector.see(image)
            objects, followed = tracker.step(objects)
            frames.append(objects)
            on = [] if self.downstream is None else [len(objects.followed())]
            work = [before + now for before, now in zip(work, (*seen, 1, *followed, *on), strict=True)]
        return tuple(frames), work

    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return what the detector proposes for each frame, ``[B * T, N, ...]``, and the detector's work on each frame.

        Frames of one video follow each other; ``unflatten(0, (-1, frames))`` gives them back. The work has the columns
        of the detector's units alone: what the tracker adds has no gradient and belongs to no single frame.
        """
        found = self._detector.signals(self.space.check(inputs).flatten(0, 1))
        return replace(found, rows=torch.arange(len(inputs)).repeat_interleave(self.frames))

    def features(self, inputs: Tensor) -> Tensor:
        """See :meth:`DetectorTarget.features`; of each frame."""
        return self._detector.features(inputs.flatten(0, 1))

    def max_work(self, inputs: Tensor) -> Work:
        """Return the detector's most in every frame, and the tracker's with every frame full of kept boxes.

        See :meth:`torpor.targets.detector.track_work.Tracking.most_alive`.
        """
        seen = self._detector.max_work(inputs[:, 0]).counts * self.frames
        on = [] if self.downstream is None else [self.frames * self._most_kept]
        most = torch.tensor([self.frames, *self.tracker.most(self.frames, self._most_kept), *on])
        return Work(torch.cat([seen, most.expand(len(inputs), -1)], 1))

    @property
    def _most_kept(self) -> int:
        return self.nms.most(self._detector.anchors, len(self.classes))[2]

    def least_work(self) -> Work:
        """Return the network's work on empty frames."""
        least = torch.zeros(1, len(self.units), dtype=torch.int64)
        least[0, 0] = least[0, len(self._detector.units)] = self.frames
        return Work(least)

    def utility(self, outputs: Sequence[Frames], references: Sequence[Frames]) -> Tensor:
        """Score each video by its multiple object tracking accuracy (MOTA)."""
        if len(references) == 0:
            return torch.full((len(outputs),), math.nan, dtype=torch.float64)
        pairs = zip(outputs, references, strict=True)
        return torch.tensor([tracking_scores([found], [true]).mota for found, true in pairs], dtype=torch.float64)

    @property
    def utility_name(self) -> str:
        """Name of what :meth:`utility` measures."""
        return "MOTA"

    def agreement(self, outputs: Sequence[Frames], clean: Sequence[Frames]) -> Tensor:
        """Tell for each video whether every clean object is still found in its frame, with its class."""
        kept = [
            all(bool(still_found(*pair).all()) for pair in zip(frames, known, strict=True))
            for frames, known in zip(outputs, clean, strict=True)
        ]
        return torch.tensor(kept)

    def labels(self, outputs: Sequence[Frames], references: Sequence[object] | None) -> Sequence[Frames]:
        """Return the clean outputs: attacks on trackers aim at what the detector sees, not at the ground truth."""
        for known in references or ():
            if not isinstance(known, tuple) or not all(isinstance(frame, Objects) for frame in known):
                raise DataError(f"expected a tuple of Objects for each video, got {type(known).__name__}")
        return outputs

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield the detector's probes, and the tracker alone on frames that are empty, the same, or end."""
        own = len(self.units) - len(self._detector.units)
        for work, call in self._detector.probes(inputs[:, 0]):
            yield Work(torch.cat([work.counts, work.counts.new_zeros(len(work), own)], 1)), call
        nothing, twice = _apart(0), self.tracker.confirm + 1
        videos = [[nothing] * 8]
        for count in sorted({1, math.ceil(self._most_kept / 2), self._most_kept}):
            objects = _apart(count)
            lost = [nothing] * min(self.tracker.buffer + 1, 8)
            videos += [[objects], [objects] * twice, [objects] * twice + lost]
        for video in videos:
            counts = [0] * len(self._detector.units) + [len(video), *follow(video, self.tracker)[1]] + [0] * (own - 4)
            yield Work(torch.tensor([counts])), lambda video=video: follow(video, self.tracker)  # type: ignore[misc]

    def to(self, device: torch.device) -> Self:
        """Move the detector and return this target."""
        self._detector.to(device)
        return self

    def rungs(self) -> int:
        """See :meth:`DetectorTarget.rungs`; what is kept is what the tracker is handed."""
        return self._detector.rungs()

    def at_rung(self, rung: int) -> Self:
        """Return the target at a rung of :meth:`rungs`."""
        return self.with_nms(self._detector.at_rung(rung).nms)

    def with_nms(self, nms: NMS) -> Self:
        """Return a target whose detector suppresses by other thresholds and caps; see :class:`DetectorTarget`."""
        other = copy.copy(self)
        other._detector, other.nms = self._detector.with_nms(nms), nms
        return other

    def with_tracker(self, tracker: Tracking) -> Self:
        """Return a target that shares this one's detector but tracks by other settings."""
        other = copy.copy(self)
        other.tracker = tracker
        return other

    def details(self) -> dict[str, Any]:
        """Return the caps of the detector and the tracker; see :meth:`Target.details`."""
        tracker = {"name": self.tracker.name, **asdict(self.tracker)}
        return {**super().details(), "tracker": tracker, "frames": self.frames}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the tracker's settings and all that the detector's has count."""
        return f"{super().fingerprint()} {self.tracker} {self.frames} {self._detector.fingerprint()}"

    @override
    def data(self, folder: Path | None) -> DataSet:
        if self._data is None:
            raise DataError(f"expected data for {self.name}, got none; give TrackerTarget a function as data")
        return self._data(folder)


def _apart(count: int) -> Objects:
    """Return sure detections that do not touch."""
    boxes = torch.arange(count)[:, None] * 2.0 + torch.tensor([0.0, 0, 1, 1])
    return Objects(boxes, torch.zeros(count, dtype=torch.int64), torch.ones(count))
