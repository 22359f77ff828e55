"""Attacks on detectors and on what follows them: images, and the frames of videos, are attacked in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import IterativeAttack
from torpor.attacks.search.incumbent import Curve
from torpor.attacks.search.optimizers import Change, Shared, Variable
from torpor.core.budget import PATCHES
from torpor.core.signals import CandidateSignals
from torpor.core.space import VideoSpace
from torpor.core.work import PriceList, Work
from torpor.targets.detector.contract import CandidateTarget

MOST = 64
"""Frames in one pass at most, so that memory does not grow with the length of videos."""


@dataclass(frozen=True, eq=False)
class Groups:
    """A detector whose samples are groups of frames ``[n, C, H, W]``: the boxes of all its frames are the group's.

    Attributes:
        detector: looks at each frame.
        space: of one group.
    """

    detector: CandidateTarget
    space: VideoSpace

    @property
    def prices(self) -> PriceList:
        """Return the prices of the detector."""
        return self.detector.prices

    def max_work(self, inputs: Tensor) -> Work:
        """Return the static bound of all frames of each group."""
        return self._sum(self.detector.max_work(inputs.flatten(0, 1)))

    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return the boxes of all frames of each group, ``[B, n * N, 4]``, with their scores, and the work."""
        found = self.detector.signals(inputs.flatten(0, 1))
        count = len(inputs)
        return CandidateSignals(
            found.boxes.reshape(count, -1, 4),
            found.scores.reshape(count, -1, found.scores.shape[2]),
            self._sum(found.work),
            None if found.alarm is None else found.alarm.view(count, -1).amax(1),
        )

    def _sum(self, work: Work) -> Work:
        return Work(work.counts.view(-1, self.space.shape[0], work.counts.shape[1]).sum(1))


SEEN = ("forwards", "backwards", "zero_gradient", "loss_fell", "black_box_won")
"""What a search tells of each group, besides what it found."""

Search = Callable[[Groups, Tensor, Tensor], Candidates]
"""Attack groups ``[P, n, C, H, W]``, given the number of each in its video, ``[P]``."""


def attack_groups(target: CandidateTarget, inputs: Tensor, frames: Sequence[Tensor], search: Search) -> Candidates:
    """Attack groups of frames on their own, and put the frames back where they were.

    Args:
        target: its detector is attacked.
        inputs: images ``[B, C, H, W]``, which count as videos of one frame, or videos ``[B, T, C, H, W]``.
        frames: numbers of the frames of each group, int64 ``[G, n]``, once for each size ``n``; no frame twice.
        search: attacks groups of one size.

    Returns:
        What was found; passes are those over a whole input.
    """
    videos = inputs.unsqueeze(1) if inputs.ndim == 4 else inputs
    attacked, seen, curves = videos.clone(), [], list[Curve]()
    alone = inputs.ndim == 4 and target.detector is target  # else no group costs what an input costs
    for index in frames:
        groups = videos[:, index.to(videos.device)]
        rows, numbers = groups.flatten(0, 1), torch.arange(len(index)).repeat(len(videos))
        whole = Groups(target.detector, VideoSpace((index.shape[1], *videos.shape[2:])))
        at_once = max(1, MOST // index.shape[1])
        chunks = zip(rows.split(at_once), numbers.split(at_once), strict=True)
        found = [search(whole, chunk, number) for chunk, number in chunks]
        attacked[:, index.to(videos.device)] = torch.cat([part.inputs for part in found]).view_as(groups)
        curves += [curve for part in found for curve in part.curves or ()] if alone else []
        columns = [_column(found, name) for name in SEEN]
        seen.append(torch.stack(columns, 1).view(len(videos), -1, len(SEEN)))
    forwards, backwards, zero_gradient, fell, won = torch.cat(seen, 1).unbind(2)
    return Candidates(
        attacked.view_as(inputs),
        forwards.amax(1),
        backwards.amax(1),
        zero_gradient=zero_gradient.bool().all(1),
        loss_fell=fell.bool().any(1),
        black_box_won=None if (won < 0).any() else won.to(torch.float32).mean(1) > 0.5,
        curves=curves if len(curves) == len(inputs) else None,
    )


def _column(found: Sequence[Candidates], name: str) -> Tensor:
    """Return what searches tell of each group, int64 ``[P]``; -1 for what they do not tell."""
    values = [getattr(part, name) for part in found]
    return torch.cat(
        [
            torch.full_like(part.forwards, -1) if value is None else value.to(part.forwards)
            for part, value in zip(found, values, strict=True)
        ]
    )


def one_by_one(inputs: Tensor) -> Tensor:
    """Return groups of one frame each, for images or videos: the numbers of all frames, int64 ``[T, 1]``."""
    return torch.arange(inputs.shape[1] if inputs.ndim == 5 else 1).unsqueeze(1)


def sampled_frames(inputs: Tensor, most: int) -> Tensor:
    """Return at most ``most`` images of a batch of them, or of the frames of videos, spread evenly.

    >>> sampled_frames(torch.arange(6.0).view(2, 3, 1, 1, 1), 3).flatten().tolist()
    [0.0, 2.0, 4.0]
    """
    images = inputs.flatten(0, 1) if inputs.ndim == 5 else inputs
    return images[:: -(-len(images) // most)]


def variable_of(groups: Groups) -> Variable:
    """Return the change of one frame, or one that all frames of a group share."""
    return Change() if groups.space.shape[0] == 1 else Shared()


@dataclass(frozen=True, kw_only=True)
class CandidateAttack(IterativeAttack):
    """A gradient attack on a detector, or through it on what follows.

    Default radii: Linf 8/255, and the L2 15 of the Overload paper on images of 3 x 640 x 640 pixels, a root mean
    square of 0.0135 per value, which other sizes get too; of videos, every frame has the budget.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "video")
    reads: ClassVar[type | None] = CandidateSignals
    needs: ClassVar[tuple[str, ...]] = ("detector", "nms")
    norms: ClassVar[tuple[str, ...]] = IterativeAttack.norms + PATCHES
    radii: ClassVar[Mapping[str, float]] = {"Linf": 8 / 255, "L2": 15.0}
    paper_shape: ClassVar[tuple[int, ...] | None] = (3, 640, 640)

    eps: float = 8 / 255

    def per_value(self, inputs: Tensor) -> float:
        """Return how far each value of a frame of ``inputs`` moves if all move alike and spend the budget."""
        return self.eps / inputs[0].shape[-3:].numel() ** 0.5 if self.norm == "L2" else self.eps
