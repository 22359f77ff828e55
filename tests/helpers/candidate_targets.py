"""Detectors and a tracker that the tests of this folder share, and inputs of theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from torpor.core.objects import Frames, Objects
from torpor.core.signals import CandidateSignals
from torpor.core.space import DenseSpace, VideoSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.targets.detector.contract import CandidateTarget
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget


class RandomDetector(nn.Module):
    """Untrained: for each cell of 4 x 4 pixels two boxes that overlap others, with scores of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 14, 3, 2, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.features(images).unflatten(1, (2, 7))
        rows, columns = found.shape[-2:]
        down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        middle = 4 * torch.stack([across, down], -1).to(images) + 2
        sides = 4 * found[:, :, :4].sigmoid() + 2
        boxes = torch.cat([middle.permute(2, 0, 1) - sides[:, :, :2], middle.permute(2, 0, 1) + sides[:, :, 2:]], 2)
        scores = (3 * found[:, :, 4:] - 2.6).sigmoid()
        return boxes.permute(0, 1, 3, 4, 2).flatten(1, 3), scores.permute(0, 1, 3, 4, 2).flatten(1, 3)


def random_detector() -> DetectorTarget:
    """Build an untrained detector of wide images that is sure enough to find something in them."""
    torch.manual_seed(3)
    network = RandomDetector()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2)
    return DetectorTarget(network, input_shape=(3, 20, 28), classes=["a", "b", "c"], nms=NMS(max_det=50))


class BoxTracker(CandidateTarget):
    """Follows boxes that stay where they are: a track begins with two matches in a row and outlives ``buffer`` misses.

    Its unit counts, in each frame, the tracks that are alive after it.
    """

    mechanism = "tracking"
    space: VideoSpace

    def __init__(self, detector: DetectorTarget, frames: int, buffer: int) -> None:
        self._detector, self.frames, self.buffer, self.name = detector, frames, buffer, "toy-tracker"
        self.confirm = 2
        self.space = VideoSpace((frames, *detector.space.shape))
        self.classes, self.nms, self.device = detector.classes, detector.nms, detector.device
        self.units = (*detector.units, Unit("track_alive", 10**6, "tracker"))

    @property
    def detector(self) -> DetectorTarget:
        return self._detector

    def run(self, inputs: Tensor) -> Outcome:
        outputs, work = [], []
        for video in self.space.check(inputs):
            seen = self._detector.run(video)
            outputs.append(tuple(seen.outputs))
            work.append([*seen.work.counts.sum(0).tolist(), sum(self.alive(seen.outputs))])
        return Outcome(tuple(outputs), Work(torch.tensor(work)))

    def alive(self, frames: Sequence[Objects]) -> list[int]:
        """Return how many tracks are alive after each frame."""
        tracks: dict[tuple[float, ...], int] = {}  # box to the frame of its last match
        before: set[tuple[float, ...]] = set()
        counts = []
        for now, objects in enumerate(frames):
            seen = {tuple(box) for box in objects.boxes.tolist()}
            tracks |= dict.fromkeys(seen & (before | tracks.keys()), now)
            tracks = {box: last for box, last in tracks.items() if now - last <= self.buffer}
            counts.append(len(tracks))
            before = seen
        return counts

    def signals(self, inputs: Tensor) -> CandidateSignals:
        return self._detector.signals(inputs.flatten(0, 1))

    def max_work(self, inputs: Tensor) -> Work:
        one = self._detector.max_work(inputs[:, 0]).counts * self.frames
        alive = torch.full((len(inputs), 1), self.frames * self._detector.anchors)
        return Work(torch.cat([one, alive], 1))

    def utility(self, outputs: Sequence[Frames], references: Sequence[Frames]) -> Tensor:
        return torch.full((len(outputs),), math.nan, dtype=torch.float64)

    def agreement(self, outputs: Sequence[Frames], clean: Sequence[Frames]) -> Tensor:
        return torch.tensor([same(*pair) for pair in zip(outputs, clean, strict=True)])

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        yield self.run(inputs).work, lambda: self.run(inputs)

    def to(self, device: torch.device) -> Self:
        return self


def same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Tell whether two inputs, or two outputs, of any target are alike."""
    if isinstance(one, Objects):
        return one.boxes.equal(other.boxes) and one.labels.equal(other.labels)
    if isinstance(one, list | tuple):
        return all(same(*pair) for pair in zip(one, other, strict=True))
    return one.equal(other) if isinstance(one, Tensor) else bool(one == other)


CANDIDATE_TARGETS: dict[str, Callable[[], CandidateTarget]] = {
    "lamps": LampTarget,
    "detector": random_detector,
    "lamp-video": lambda: BoxTracker(LampTarget(16, 24), frames=7, buffer=3),
    "video": lambda: BoxTracker(random_detector(), frames=3, buffer=2),
}


def inputs_of(target: CandidateTarget, *, other: bool = False) -> Tensor:
    """Return four inputs, or others to fit on, of which the first are dark and the last bright; frames differ."""
    assert isinstance(target.space, DenseSpace)
    rng = torch.Generator().manual_seed(7 if other else 1)
    means = torch.linspace(0.05, 0.45, 4).view(-1, *[1] * len(target.space.shape))
    return target.space.snap(means + 0.4 * (torch.rand(4, *target.space.shape, generator=rng) - 0.5))
