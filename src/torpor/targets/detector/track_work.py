"""Trackers of the library ``trackers``, as they are, with a count of the work that they really do."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.objects import UNTRACKED, Frames, Objects

FRAME_RATE = 30.0
"""The library's buffers count frames at this rate."""


def _matmul(*sizes: int) -> int:
    """Return the FLOPs of a chain of matrix products from the left: sizes 2, 3, 4 are ``[2, 3] @ [3, 4]``."""
    return sum(2 * sizes[0] * inner * outer for inner, outer in pairwise(sizes[1:]))


def predict_flops(state: int = 8) -> int:
    """Return the FLOPs of a Kalman filter's prediction: ``F x`` and ``F P F' + Q``.

    >>> predict_flops()
    2240
    """
    return _matmul(state, state, 1) + _matmul(state, state, state, state) + state * state


def update_flops(state: int = 8, measured: int = 4) -> int:
    """Return the FLOPs of a Kalman filter's correction, its covariance in Joseph's form.

    >>> update_flops()
    4764
    """
    innovation = _matmul(measured, state, 1) + measured
    covariance = _matmul(state, state, measured) + _matmul(measured, state, measured) + measured**2
    gain = 2 * measured**3 + _matmul(state, measured, measured)
    corrected = _matmul(state, measured, 1) + state
    shrunk = _matmul(state, measured, state) + state**2
    joseph = _matmul(state, state, state, state) + _matmul(state, measured, measured, state) + state**2
    return innovation + covariance + gain + corrected + shrunk + joseph


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The settings of a deployed tracker. Its caps are part of the target: no attack is given larger ones.

    Attributes:
        buffer: frames that a confirmed track survives without a match. A track is predicted once more in the frame
            after these, and dropped if nothing matches it there either.
        activation: score that a detection needs to found a track.
        confirm: detections that a track needs in a row, the first included, to be numbered and to survive any frame
            without a match.
        overlap: intersection over union that a match needs.
        max_tracks: tracks that live on after a frame, at most: those that were matched last, confirmed ones before
            others, then the oldest. None for no limit.
    """

    name: ClassVar[str]
    library: ClassVar[str]
    buffer: int = 30
    activation: float
    confirm: int
    overlap: float
    max_tracks: int | None = None

    def __post_init__(self) -> None:
        if self.buffer < 0 or self.confirm < 1:
            raise UsageError(f"expected buffer of 0 and confirm of 1 or more, got {self.buffer} and {self.confirm}")
        if self.max_tracks is not None and self.max_tracks < 1:
            raise UsageError(f"expected max_tracks of 1 or more, got {self.max_tracks}")
        for name, value in asdict(self).items():
            if name not in ("buffer", "confirm", "max_tracks") and not 0 <= value <= 1:
                raise UsageError(f"expected {name} from 0 to 1, got {value}")

    def arguments(self) -> dict[str, Any]:
        """Return the settings by the library's names."""
        return {
            "lost_track_buffer": self.buffer,
            "frame_rate": FRAME_RATE,
            "track_activation_threshold": self.activation,
            "minimum_consecutive_frames": self.confirm,
            "minimum_iou_threshold": self.overlap,
        }

    def most_alive(self, frame: int, detections: int) -> int:
        """Return how many tracks frame ``frame``, counted from 0, can meet, with ``detections`` at most in each before.

        A detection of the last frame leaves one track at most. Any other track got its last one in the ``buffer``
        frames before that, one each, and is confirmed: it got ``confirm`` of all that there were.

        >>> [ByteTrack(buffer=3).most_alive(frame, 10) for frame in range(8)]
        [0, 10, 15, 20, 25, 30, 35, 40]
        """
        if frame == 0:
            return 0
        before = frame - 1
        most = detections + min(detections * min(before, self.buffer), detections * before // self.confirm)
        return most if self.max_tracks is None else min(most, self.max_tracks)

    def most(self, frames: int, detections: int) -> tuple[int, int, int]:
        """Return tracks alive, detections taken in and pairs at most over a video.

        >>> SORT(buffer=1).most(3, 10)
        (23, 30, 230)
        """
        alive = sum(self.most_alive(frame, detections) for frame in range(frames))
        return alive, frames * detections, alive * detections


@dataclass(frozen=True, kw_only=True)
class ByteTrack(Tracking):
    """ByteTrack (Zhang et al., ECCV 2022): likely detections are matched first, unlikely ones with what is left.

    Attributes:
        high: score of a likely detection; only these found tracks.
    """

    name: ClassVar[str] = "bytetrack"
    library: ClassVar[str] = "ByteTrackTracker"
    activation: float = 0.7
    confirm: int = 2
    overlap: float = 0.1
    high: float = 0.6

    @override
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "high_conf_det_threshold": self.high}


@dataclass(frozen=True, kw_only=True)
class SORT(Tracking):
    """SORT (Bewley et al., ICIP 2016): all detections are matched at once."""

    name: ClassVar[str] = "sort"
    library: ClassVar[str] = "SORTTracker"
    activation: float = 0.25
    confirm: int = 3
    overlap: float = 0.3


class _Pairs:
    """The library's similarity of boxes, with a count of the pairs that it is computed for."""

    def __init__(self, similarity: Any) -> None:  # noqa: ANN401
        self._similarity = similarity
        self.count = 0

    def compute(self, tracks: NDArray[np.float64], detections: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the similarity of each track with each detection, ``[N, M]``."""
        self.count += len(tracks) * len(detections)
        similarity: NDArray[np.float32] = self._similarity.compute(tracks, detections)
        return similarity


class CountedTracker:
    """A tracker of one video.

    Args:
        settings: which tracker, and its caps.

    Raises:
        UsageError: if the library is not installed.

    >>> tracker = CountedTracker(ByteTrack())
    >>> cat = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]), torch.tensor([0.9]))
    >>> [tracker.step(cat)[0].ids.tolist() for _ in range(3)]
    [[-1], [0], [0]]
    """

    def __init__(self, settings: Tracking) -> None:
        try:
            library: Any = importlib.import_module("trackers")
            self._detections: Any = importlib.import_module("supervision").Detections
        except ImportError as error:
            raise UsageError(
                f"expected the library trackers for {settings.name}, got {error}; pip install 'torpor[tracking]'"
            ) from error
        self._pairs = _Pairs(library.IoU())
        self.max_tracks = settings.max_tracks
        self.tracker: Any = getattr(library, settings.library)(**settings.arguments(), iou=self._pairs)

    def step(self, objects: Objects) -> tuple[Objects, tuple[int, int, int]]:
        """Return the detections of the next frame with the numbers of their tracks, and the work.

        Args:
            objects: what was detected, with scores.

        Returns:
            The same objects in the same order, :data:`~torpor.core.objects.UNTRACKED` where no confirmed track follows
            them; tracks that were alive, detections that were taken in, and pairs compared.
        """
        assert objects.scores is not None
        alive, pairs = len(self.tracker.tracks), self._pairs.count
        rows = np.arange(len(objects))  # in place of classes, which these trackers only hand on: they change the order
        followed = self.tracker.update(
            self._detections(xyxy=objects.boxes.numpy(), confidence=objects.scores.numpy(), class_id=rows)
        )
        ids = np.full(len(objects), UNTRACKED)
        if len(objects):
            ids[followed.class_id] = followed.tracker_id
        taken = sum(track.time_since_update == 0 for track in self.tracker.tracks)
        self._drop()
        numbered = Objects(objects.boxes, objects.labels, objects.scores, torch.from_numpy(ids))
        return numbered, (alive, taken, self._pairs.count - pairs)

    def _drop(self) -> None:
        """Drop the tracks beyond the cap."""
        if self.max_tracks is not None and len(self.tracker.tracks) > self.max_tracks:
            best = sorted(  # a stable sort: the library keeps tracks in the order of their founding
                range(len(self.tracker.tracks)),
                key=lambda row: (
                    self.tracker.tracks[row].time_since_update,
                    self.tracker.tracks[row].tracker_id == UNTRACKED,
                ),
            )
            self.tracker.tracks = [self.tracker.tracks[row] for row in sorted(best[: self.max_tracks])]


def follow(frames: Sequence[Objects], settings: Tracking) -> tuple[Frames, tuple[int, int, int]]:
    """Return the objects of a video with the numbers of their tracks, and the work: alive, taken in, pairs."""
    tracker = CountedTracker(settings)
    followed, work = zip(*(tracker.step(objects) for objects in frames), strict=True)
    alive, taken, pairs = (sum(column) for column in zip(*work, strict=True))
    return followed, (alive, taken, pairs)
