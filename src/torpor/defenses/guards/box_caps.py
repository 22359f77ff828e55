"""Caps on candidates and tracks: only the best are compared, kept and followed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor
from typing_extensions import override

from torpor.core.objects import Frames
from torpor.defenses.guards.base import Cap, benign_most, chunks, known, rungs_below
from torpor.targets.base import Target
from torpor.targets.detector.contract import CANDIDATE, PAIR
from torpor.targets.detector.detection import OBJECT
from torpor.targets.detector.nms import NMS, capped
from torpor.targets.detector.track_work import CountedTracker, Tracking
from torpor.targets.detector.tracking import ALIVE, ASSOCIATION, UPDATE


@dataclass(frozen=True)
class BoxCap(Cap):
    """Of the candidates in an image, only those of the highest scores are compared, ``boxes:300``, and fewer kept.

    Without a setting, 99.9 % of clean images have no more candidates and no more kept boxes. The threshold still
    looks at every box that is proposed.

    Attributes:
        most: candidates that are compared, and so kept, at most; None to learn both numbers.
        compared: what was learned.
        kept: what was learned.
    """

    id: ClassVar[str] = "boxes"
    caps: ClassVar[tuple[str, ...]] = (PAIR, OBJECT)

    compared: int | None = None
    kept: int | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return ("compared", "kept") if self.most is None else ()

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_nms", "detector")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.with_nms(self._caps(target.nms, self.most))
        return guarded

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in rungs_below(min(target.nms.max_nms, _most(target)[0])))

    def _caps(self, nms: NMS, compared: int | None) -> NMS:
        """Return ``nms`` with what was set, or what was learned."""
        if self.most is None:
            return capped(nms, known(self.compared, self.name), known(self.kept, self.name))
        return capped(nms, nms.max_nms if compared is None else compared, self.most)

    def fit(self, target: Any, inputs: Tensor) -> Self:  # noqa: ANN401
        """See :meth:`Guard.fit`; frames of videos are images."""
        if self.most is not None:
            return self
        images = inputs.flatten(0, 1) if target.space.kind == "video" else inputs
        place = [unit.name for unit in target.detector.units].index(CANDIDATE)
        clean = [target.detector.run(some) for some in chunks(images)]
        compared = [count for seen in clean for count in seen.work.counts[:, place].tolist()]
        kept = [len(found) for seen in clean for found in seen.outputs]
        return replace(self, compared=max(1, int(benign_most(compared))), kept=max(1, int(benign_most(kept))))


@dataclass(frozen=True)
class TrackCap(BoxCap):
    """A tracker receives at most N boxes of a frame, ``tracks:N``, and keeps at most N tracks alive after it.

    Without a setting, 99.9 % of clean frames have no more candidates, kept boxes and tracks.

    Attributes:
        most: kept boxes and tracks at most; None to learn the numbers.
        compared: what was learned.
        kept: what was learned.
        alive: what was learned.
    """

    id: ClassVar[str] = "tracks"
    caps: ClassVar[tuple[str, ...]] = (PAIR, OBJECT, ALIVE, UPDATE, ASSOCIATION)

    alive: int | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return (*super().needs, "alive") if self.most is None else ()

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return super().applies_to(target) and target.offers("with_tracker", "tracker")

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in rungs_below(_most(target)[2]))

    @override
    def bounded(self, target: Any) -> Target:
        seen = target.with_nms(self._caps(target.nms, None))
        alive = known(self.alive if self.most is None else self.most, self.name)
        before = target.tracker.max_tracks
        most = alive if before is None else min(alive, before)
        guarded: Target = seen.with_tracker(replace(target.tracker, max_tracks=most))
        return guarded

    @override
    def fit(self, target: Any, inputs: Tensor) -> Self:
        if self.most is not None:
            return self
        videos = [video for some in chunks(inputs) for video in target.run(some).outputs]
        alive = [count for video in videos for count in tracks_alive(video, target.tracker)]
        return replace(super().fit(target, inputs), alive=max(1, int(benign_most(alive))))


def _most(target: Any) -> tuple[int, int, int]:  # noqa: ANN401 - a detector, or what has one
    """Return candidates, pairs and kept boxes of an image at most."""
    found: tuple[int, int, int] = target.nms.most(target.detector.anchors, len(target.classes))
    return found


def tracks_alive(video: Frames, settings: Tracking) -> list[int]:
    """Return how many tracks each frame meets when these detections are followed."""
    tracker = CountedTracker(settings)
    return [tracker.step(objects)[1][0] for objects in video]
