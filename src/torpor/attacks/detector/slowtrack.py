"""SlowTrack: videos that leave a tracker with as many tracks as it can keep alive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.detector.frames import CandidateAttack, Groups, attack_groups, variable_of
from torpor.attacks.detector.trails import Trail, TrailedGroups, by_tracker
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import State, Steps
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.threat import Paper
from torpor.core.work import PriceList, Work

PAPER = Paper(
    "SlowTrack: Increasing the Latency of Camera-Based Perception in Autonomous Driving Using Adversarial Examples",
    "Ma et al.",
    "AAAI",
    2024,
    "arXiv:2312.09520",
)
REGION_WEIGHT = 10.0
PAPER_SHAPE = (3, 608, 1088)
PAPER_STEP = 1.5
STEP_SIZE = 1 / 16  # of eps


class Lighting(NamedTuple):
    """A region that is lit for some frames.

    Attributes:
        region: its number.
        start: first frame.
        frames: as many as tracks take to begin, or 1 where they are kept alive.
    """

    region: int
    start: int
    frames: int


def schedule(length: int, buffer: int, confirm: int = 2) -> tuple[Lighting, ...]:
    """Return which region is lit when, so that as many as possible have tracks that never die.

    A new region is lit until its tracks have begun, for two frames in the paper, unless the tracks of an old one would
    die meanwhile: then that one is lit again. There is room for as many regions as the tracker's buffer has frames.

    Args:
        length: of the video, in frames.
        buffer: frames that a track survives without a match.
        confirm: matches in a row that begin a track.

    >>> [(light.region, light.start, light.frames) for light in schedule(9, buffer=3)]
    [(0, 0, 2), (1, 2, 2), (0, 4, 1), (2, 5, 2), (1, 7, 1), (0, 8, 1)]
    """
    lights: list[Lighting] = []
    due: list[int] = []
    now = 0
    while now < length:
        region = min(range(len(due)), key=due.__getitem__, default=0)
        if due and (due[region] - now < confirm or now == length - 1):
            lights.append(Lighting(region, now, 1))
        else:
            region = len(due)
            due.append(0)
            lights.append(Lighting(region, now, min(confirm, length - now)))
        now += lights[-1].frames
        due[region] = now + buffer - (now == confirm)  # the paper's first region is due a frame earlier
    return tuple(lights)


def regions(boxes: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """Divide boxes ``[N, 4]`` into ``count`` regions of the image with equally many of them, int64 ``[N]``.

    They are cut into bands by the height of their middle, and each band from left to right, in as many rows and columns
    as come nearest to square regions. So none is empty, whatever the size of the image and the detector's strides.

    Args:
        boxes: left, top, right, bottom.
        count: of regions.
        size: height and width of the image.

    >>> boxes = torch.tensor([[0.0, 0, 2, 2], [6, 0, 8, 2], [2, 0, 4, 2], [4, 0, 6, 2]])
    >>> regions(boxes, 2, (2, 8)).tolist()
    [0, 1, 0, 1]
    """
    rows = min(
        (rows for rows in range(1, count + 1) if count % rows == 0),
        key=lambda rows: abs(math.log(rows * rows * size[1] / (count * size[0]))),
    )
    across, down = ((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(1)
    found = torch.empty(len(boxes), dtype=torch.int64, device=boxes.device)
    for row, band in enumerate(down.argsort(stable=True).tensor_split(rows)):
        for column, part in enumerate(band[across[band].argsort(stable=True)].tensor_split(count // rows)):
            found[part] = row * (count // rows) + column
    return found


@dataclass(frozen=True, eq=False)
class Light(IterateObjective[CandidateSignals]):
    """Make all boxes sure, those of the lit region above all: ``10 sum (1 - score)^2`` over it, and 1 over all.

    Attributes:
        lit: which boxes of each sample are in its region, bool ``[B, N]``.
    """

    lit: Tensor

    @override
    def __call__(self, signals: CandidateSignals, step: int, state: State) -> Tensor:
        weights = state.setdefault("weights", 1 + REGION_WEIGHT * self.lit.to(signals.scores))
        return (weights * (1 - signals.scores.amax(2)).square()).sum(1)


@dataclass(frozen=True, eq=False)
class LitGroups(Groups):
    """Groups that cost what an attack on tracks wants: the candidates of the lit region.

    Attributes:
        lit: which boxes of each group are in its region, bool ``[P, N]``.
    """

    lit: Tensor

    @property
    @override
    def prices(self) -> PriceList:
        return PriceList("boxes", (1.0,))

    @override
    def max_work(self, inputs: Tensor) -> Work:
        return Work(self.lit.sum(1, keepdim=True).cpu())

    @override
    def signals(self, inputs: Tensor) -> CandidateSignals:
        found = super().signals(inputs)
        passed = (found.scores.detach().amax(2) > self.detector.nms.conf) & self.lit
        return replace(found, work=Work(passed.sum(1, keepdim=True).cpu()))


@dataclass(frozen=True, kw_only=True)
class SlowTrack(CandidateAttack):
    """Light one region of the image after the other, and again just before its tracks die.

    A tracker needs some matches in a row to begin a track, two in the paper, so the frames in which a region is new are
    changed alike. As many regions as the tracker's buffer has frames then have tracks at the same time, fewer where the
    video is too short to light them all; see :func:`schedule`.

    The paper bounds nothing but the range of pixels; :class:`UnboundedSlowTrack` does that. Here, changes stay within
    ``eps``: Linf 8/255, or L2 as in the Overload paper, both ours, by 220 steepest steps of a sixteenth of ``eps``, or
    larger ones with fewer ``steps``. Any class may be lit, where the released code has one. Of all iterates the one is
    kept that costs the detector most, or that has most candidates in its region, where the released code takes the
    last; what a tracker does has hardly a share in the FLOPs of a pipeline. Its work is known only of whole videos: to
    keep them by it, all frames are taken at the same step, at eight steps along the way. Read what the attack did in
    the live tracks and the pairs of association. The released code divides the boxes of images of
    one size only; here, boxes are divided by where they are.

    Attributes:
        keep: the iterate of each group of frames by its ``"cost"`` or by the candidates of its ``"region"``, or that of
            the whole video by the work of its ``"tracker"``, in FLOPs.
    """

    id: ClassVar[str] = "slowtrack"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 220
    kinds: ClassVar[tuple[str, ...]] = ("video",)
    needs: ClassVar[tuple[str, ...]] = ("detector", "buffer", "confirm")

    keep: Literal["cost", "region", "tracker"] = "cost"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in ("cost", "region", "tracker"):
            raise UsageError(f"expected cost, region or tracker to keep iterates by, got {self.keep!r}")

    @classmethod
    def applies_to(cls, target: Any) -> bool:  # noqa: ANN401 - one that follows objects
        """See :meth:`Attack.applies_to`; the target must keep lost tracks for a while."""
        return super().applies_to(target) and target.buffer > 0

    def search(self, target: Any, inputs: Tensor, labels: object, seed: int) -> Candidates:  # noqa: ANN401 - a tracker
        """See :meth:`Attack.search`.

        Args:
            target: its ``buffer`` is how many frames a track survives without a match, ``confirm`` how many matches in
                a row begin one, and ``detector`` looks at each frame.
            inputs: videos ``[B, T, C, H, W]``.
            labels: not looked at.
            seed: not needed.
        """
        height, width = inputs.shape[-2:]
        gray = torch.full_like(inputs[:1, 0], 0.5)  # where boxes are if nothing is there; asked once for all videos
        with torch.no_grad():
            boxes = target.detector.signals(target.detector.space.snap(gray)).boxes[0]
        lights = schedule(inputs.shape[1], target.buffer, target.confirm)
        of_box = regions(boxes, 1 + max(light.region for light in lights), (height, width))
        trail = Trail(self.iterations)

        def search(groups: Groups, clean: Tensor, numbers: Tensor) -> Candidates:
            frames = groups.space.shape[0]
            region = torch.tensor([light.region for light in lights if light.frames == frames])[numbers]
            lit = (of_box == region.to(of_box.device).unsqueeze(1)).repeat(1, frames)
            trail.begin()
            kept = {
                "cost": groups,
                "region": LitGroups(groups.detector, groups.space, lit),
                "tracker": TrailedGroups(groups.detector, groups.space, trail),
            }
            return amplify(
                kept[self.keep],
                clean,
                objective=Light(lit),
                ball=ball_of(self.budget, groups.space),
                eps=self.eps,
                optimizer=Steps(self.stride(inputs)),
                steps=self.iterations,
                variable=variable_of(groups),
                start=torch.zeros_like(clean[:, :1]),
            )

        frames = [
            torch.tensor([range(light.start, light.start + count) for light in lights if light.frames == count])
            for count in sorted({light.frames for light in lights})
        ]
        found = attack_groups(target, inputs, frames, search)
        return by_tracker(target, inputs, found, trail, frames) if self.keep == "tracker" else found

    def stride(self, inputs: Tensor) -> float:
        """Return the norm of each step."""
        return self.eps * max(STEP_SIZE, 2 / self.iterations)


@dataclass(frozen=True, kw_only=True)
class UnboundedSlowTrack(SlowTrack):
    """SlowTrack as published: normalized steps of the released code's length, and no bound but the range of pixels.

    The budget is the L2 distance from black to white, which nothing exceeds. A step moves most values by less than half
    a level of 8 bits; what is sent follows once steps have added up.
    """

    id: ClassVar[str] = "slowtrack-unbounded"
    norms: ClassVar[tuple[str, ...]] = ("L2",)
    radii: ClassVar[Mapping[str, float]] = {"L2": math.sqrt(math.prod(PAPER_SHAPE))}
    paper_shape: ClassVar[tuple[int, ...] | None] = PAPER_SHAPE

    norm: str = "L2"
    eps: float = math.sqrt(math.prod(PAPER_SHAPE))

    def stride(self, inputs: Tensor) -> float:
        """Return the length of each step: 1.5 in the paper's images, as much per value in others."""
        return PAPER_STEP * math.sqrt(inputs.shape[-3:].numel() / math.prod(PAPER_SHAPE))
