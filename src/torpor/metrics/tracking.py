"""How well objects are followed: MOTA and IDF1 against the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from torpor.core.errors import UsageError
from torpor.core.objects import UNTRACKED, Frames, Objects, box_iou

OVERLAP = 0.5
"""A found object can match one of the ground truth if they overlap by this much."""


@dataclass(frozen=True)
class TrackingScores:
    """Counts over all frames, which add up over videos, and the scores that follow.

    Attributes:
        objects: those of the ground truth, once per frame.
        found: what is followed, once per frame.
        misses: objects that nothing followed matches.
        false_positives: what is followed and matches no object.
        switches: objects that match another track than when they last matched one.
        identified: matches where each object is followed by one track at most in the whole video, and each track
            follows one object at most: as many as can be (IDTP).

    >>> TrackingScores(objects=10, found=9, misses=2, false_positives=1, switches=1, identified=8).mota
    0.6
    """

    objects: int
    found: int
    misses: int
    false_positives: int
    switches: int
    identified: int

    def __add__(self, other: TrackingScores) -> TrackingScores:
        return TrackingScores(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def mota(self) -> float:
        """One less errors per object, 1 at best, without a limit below; where nothing is there, less errors alone."""
        return 1 - (self.misses + self.false_positives + self.switches) / max(self.objects, 1)

    @property
    def idf1(self) -> float:
        """F1 score of identified objects, from 0 to 1; 1 where nothing is there and nothing is found."""
        both = self.objects + self.found
        return 2 * self.identified / both if both else 1.0


def tracking_scores(found: Sequence[Frames], true: Sequence[Frames]) -> TrackingScores:
    """Score videos against the ground truth.

    Matches are those of CLEAR MOT (Bernardin and Stiefelhagen, EURASIP JIVP 2008): an object stays with the track that
    it last matched while they overlap by :data:`OVERLAP`; of the others as many match as can, by the largest overlap.
    IDF1 is that of Ristani et al. (ECCV workshops 2016). As on MOT17, classes play no part, only boxes do. What no
    track follows does not count as found.

    Args:
        found: frames of each video, with ids; :data:`~torpor.core.objects.UNTRACKED` for what no track follows.
        true: frames of each video, with ids.

    Raises:
        UsageError: if objects have no ids, or two objects of a frame have the same.

    >>> import torch
    >>> still = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]), ids=torch.tensor([7]))
    >>> other = Objects(still.boxes, still.labels, ids=torch.tensor([8]))
    >>> scores = tracking_scores([(still, still, other, other)], [(still,) * 4])
    >>> scores.switches, scores.mota, scores.idf1
    (1, 0.75, 0.5)
    """
    total = TrackingScores(0, 0, 0, 0, 0, 0)
    for frames, known in zip(found, true, strict=True):
        total += _score_video([_tracked(each) for each in frames], [_tracked(each) for each in known])
    return total


def _tracked(objects: Objects) -> Objects:
    """Return the objects that have a number."""
    if objects.ids is None:
        raise UsageError("expected objects with ids, got none; pass frames of a video that a tracker followed")
    kept = objects.ids != UNTRACKED
    ids = objects.ids[kept]
    if len(ids.unique()) != len(ids):
        raise UsageError(f"expected ids that differ within a frame, got {ids.tolist()}; number objects once")
    return Objects(objects.boxes[kept], objects.labels[kept], ids=ids)


def _score_video(found: Sequence[Objects], true: Sequence[Objects]) -> TrackingScores:
    last: dict[int, int] = {}
    together: Counter[tuple[int, int]] = Counter()
    matched = switches = 0
    for frame, there in zip(found, true, strict=True):
        objects, tracks = _numbers(there), _numbers(frame)
        overlap = box_iou(there.boxes.double(), frame.boxes.double()).nan_to_num(0).numpy()
        together.update((objects[row], tracks[column]) for row, column in np.argwhere(overlap >= OVERLAP).tolist())
        matches = _clear_matches(overlap, objects, tracks, last)
        matched += len(matches)
        switches += sum(last.get(known, track) != track for known, track in matches.items())
        last.update(matches)
    objects_count, found_count = sum(map(len, true)), sum(map(len, found))
    missed, wrong = objects_count - matched, found_count - matched
    return TrackingScores(objects_count, found_count, missed, wrong, switches, _identified(together))


def _numbers(objects: Objects) -> list[int]:
    assert objects.ids is not None
    numbers: list[int] = objects.ids.tolist()
    return numbers


def _clear_matches(
    overlap: NDArray[np.float64], objects: Sequence[int], tracks: Sequence[int], last: Mapping[int, int]
) -> dict[int, int]:
    """Return the track of each object that matches one in this frame; ``last`` are the matches so far."""
    allowed = np.where(overlap >= OVERLAP, overlap, np.nan)
    matches = {}
    for row, known in enumerate(objects):
        column = tracks.index(last[known]) if last.get(known) in tracks else None
        if column is not None and np.isfinite(allowed[row, column]):
            matches[known] = tracks[column]
            allowed[row], allowed[:, column] = np.nan, np.nan
    if len(tracks):
        rows, columns = linear_sum_assignment(np.nan_to_num(allowed, nan=-2.0 * len(objects)), maximize=True)
        matches |= {
            objects[row]: tracks[column]
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if np.isfinite(allowed[row, column])
        }
    return matches


def _identified(together: Mapping[tuple[int, int], int]) -> int:
    """Return the most frames that pairs of one object and one track can be together, each in one pair at most."""
    objects, tracks = (sorted({pair[side] for pair in together}) for side in (0, 1))
    frames = np.zeros((len(objects), len(tracks)), dtype=np.int64)
    for (known, track), count in together.items():
        frames[objects.index(known), tracks.index(track)] = count
    return int(frames[linear_sum_assignment(frames, maximize=True)].sum())
