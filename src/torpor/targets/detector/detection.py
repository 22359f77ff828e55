"""Targets that detect objects in images: a network, exact non-maximum suppression, and what looks at every box."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import DataError, UsageError
from torpor.core.lazy import renamed_argument
from torpor.core.objects import Objects, still_found
from torpor.core.signals import CandidateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.coco import CocoImages
from torpor.data.sets import DataSet
from torpor.meters.flops import counting
from torpor.metrics.detection import average_precision
from torpor.targets.detector.contract import CANDIDATE, PAIR, CandidateTarget
from torpor.targets.detector.family import looked_at
from torpor.targets.detector.nms import CANDIDATE_FLOPS, NMS, PAIR_FLOPS, Kept, capped, suppress, suppress_all
from torpor.targets.pooled import pooled
from torpor.targets.weights import digest

BACKBONE = "backbone"
OBJECT = "object"


@dataclass(frozen=True, eq=False)
class PerObject:
    """A model that looks at every kept box: it makes a detector that finds too much expensive.

    Attributes:
        network: maps crops ``[K, C, side, side]`` to class scores ``[K, L]``; its classes replace the detector's.
        side: what each box is resized to.
    """

    network: nn.Module
    side: int

    def crops(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Return what is inside of ``boxes`` ``[K, 4]`` of ``image`` ``[C, H, W]``, ``[K, C, side, side]``.

        >>> image = torch.arange(16.0).view(1, 4, 4)
        >>> PerObject(nn.Identity(), 2).crops(image, torch.tensor([[0.0, 0, 2, 2]])).tolist()
        [[[[0.0, 1.0], [4.0, 5.0]]]]
        """
        height, width = image.shape[1:]
        steps = (torch.arange(self.side, device=image.device) + 0.5) / self.side
        across = (boxes[:, :1] + steps * (boxes[:, 2:3] - boxes[:, :1])) * 2 / width - 1
        down = (boxes[:, 1:2] + steps * (boxes[:, 3:] - boxes[:, 1:2])) * 2 / height - 1
        shape = (len(boxes), self.side, self.side)
        grid = torch.stack([across[:, None].expand(shape), down[:, :, None].expand(shape)], -1)
        source = image.expand(len(boxes), -1, -1, -1)
        return F.grid_sample(source, grid.to(image), padding_mode="border", align_corners=False)


class DetectorTarget(CandidateTarget):
    """A detector as deployed: images one by one, as a camera sends them, so work never depends on neighbors.

    Units: ``backbone``, the whole network, once per image; ``candidate``, each box above the confidence threshold;
    ``nms_pair``, each comparison of two boxes; ``object``, each kept box, if something looks at it; and ``downstream``,
    each kept box, if it has a price.

    Args:
        network: maps images ``[B, C, H, W]`` in [0, 1] to boxes ``[B, N, 4]`` (left, top, right, bottom, in pixels)
            and scores ``[B, N, L]`` from 0 to 1, each row on its own. It is put in evaluation mode and frozen.
        input_shape: ``(C, H, W)`` of one image.
        classes: their names; numbers if None.
        nms: thresholds and caps.
        per_object: what looks at every kept box, if anything.
        name: shown in reports.
        device: where to run.
        letterbox: whether images of other proportions are letterboxed with gray; else they are stretched.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None); :class:`CocoImages` if None.

    Raises:
        UsageError: if ``network`` is not such a detector.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    mechanism = "detection"
    space: ImageSpace

    @renamed_argument("bars", "letterbox")
    def __init__(
        self,
        network: nn.Module,
        *,
        input_shape: tuple[int, int, int],
        classes: Sequence[str] | None = None,
        nms: NMS | None = None,
        per_object: PerObject | None = None,
        name: str = "detector",
        device: str | torch.device = "cpu",
        letterbox: bool = True,
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.name, self.nms, self.per_object, self._data = name, nms or NMS(), per_object, data
        self.letterbox = letterbox
        self.space = ImageSpace(input_shape)
        self.device = torch.device(device)
        parts = [network] if per_object is None else [network, per_object.network]
        self.modules = [part.to(self.device).eval().requires_grad_(False) for part in parts]
        self.network = network
        blank = torch.zeros(1, *input_shape, device=self.device)
        with counting() as backbone:
            boxes, scores = self._propose(blank)
        self.anchors = boxes.shape[1]
        self.classes = tuple(classes or (str(number) for number in range(scores.shape[2])))
        if len(self.classes) != scores.shape[2]:
            raise UsageError(f"expected a name for each of {scores.shape[2]} classes, got {len(self.classes)}")
        units = [Unit(BACKBONE, backbone.flops, "detector")]
        units += [Unit(CANDIDATE, CANDIDATE_FLOPS, "nms"), Unit(PAIR, PAIR_FLOPS, "nms")]
        if per_object is not None:
            with counting() as looking:
                per_object.network(blank.new_zeros(1, input_shape[0], per_object.side, per_object.side))
            units.append(Unit(OBJECT, looking.flops, "objects"))
        self.units = tuple(units)

    @property
    def detector(self) -> DetectorTarget:
        """This target."""
        return self

    def _propose(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and scores.

        Raises:
            UsageError: if the network returns something else.
        """
        found = self.network(images)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise UsageError(f"expected boxes and scores from {self.name}, got {type(found).__name__}; return both")
        boxes, scores = found
        fits = boxes.ndim == scores.ndim == 3 and boxes.shape[:2] == scores.shape[:2] and len(boxes) == len(images)
        if not fits or boxes.shape[2] != 4 or scores.shape[2] == 0:
            raise UsageError(
                f"expected boxes [B, N, 4] and scores [B, N, L] from {self.name}, got {list(boxes.shape)} and "
                f"{list(scores.shape)}"
            )
        return boxes, scores

    def run(self, inputs: Tensor) -> Outcome:
        """Return the :class:`Objects` of each image, and its work.

        Raises:
            UsageError: if boxes or scores are NaN.
        """
        outputs, work = zip(*map(self.see, self.space.check(inputs).to(self.device)), strict=True)
        return Outcome(outputs, Work(torch.tensor(work)))

    @torch.no_grad()
    def see(self, image: Tensor) -> tuple[Objects, list[int]]:
        """Return what is found in one valid image ``[C, H, W]`` on this target's device, and how often each unit ran.

        Raises:
            UsageError: if boxes or scores are NaN.
        """
        boxes, scores = self._propose(image[None])
        kept = suppress(boxes[0], scores[0], self.nms)
        return self._look(image, kept.objects), self._counts(kept)

    def _look(self, image: Tensor, objects: Objects) -> Objects:
        """Return ``objects`` on the CPU, with the classes of the model that looks at each."""
        labels = objects.labels
        if self.per_object is not None and len(objects):
            labels = self.per_object.network(self.per_object.crops(image, objects.boxes)).argmax(1)
        assert objects.scores is not None
        return Objects(objects.boxes.cpu(), labels.cpu(), objects.scores.cpu())

    def _counts(self, kept: Kept) -> list[int]:
        return [1, kept.candidates, kept.pairs, *[len(kept.objects)] * self._counting]

    @override
    def ranked(self) -> Self:
        """See :meth:`CandidateTarget.ranked`: where nothing looks at the objects, the most of them, then cost.

        Each has a price above everything else that an image can cost.
        """
        return self if looked_at(self) else self.with_downstream(float(self.prices.cost(self.static_work())) + 1)

    @property
    def _counting(self) -> int:
        """How many units count kept boxes: what looks at each, and what each costs downstream."""
        return (self.per_object is not None) + (self.downstream is not None)

    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return everything that the network proposes for images in one batch, and the work that follows."""
        boxes, scores = self._propose(self.space.check(inputs))
        counts = torch.from_numpy(suppress_all(boxes.detach(), scores.detach(), self.nms).counts)
        kept = counts[:, 2:].expand(-1, self._counting)
        work = torch.cat([torch.ones_like(counts[:, :1]), counts[:, :2], kept], 1)
        return CandidateSignals(boxes, scores, Work(work))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of each channel of each map of the network's ``pyramid``, if it has one, ``[B, F]``."""
        pyramid: Callable[[Tensor], Sequence[Tensor]] | None = getattr(self.network, "pyramid", None)
        if pyramid is None:
            return pooled(inputs.to(self.device))
        return torch.cat([each.mean((2, 3)) for each in pyramid(inputs.to(self.device))], 1)

    def max_work(self, inputs: Tensor) -> Work:
        """Return the work where every box is a candidate, all are compared with all, and as many are kept as may be."""
        candidates, pairs, kept = self.nms.most(self.anchors, len(self.classes))
        most = torch.tensor([1, candidates, pairs, *[kept] * self._counting])
        return Work(most.expand(len(inputs), -1).clone())

    def utility(self, outputs: Sequence[Objects], references: Sequence[Objects]) -> Tensor:
        """Score each image by its own average precision at IoU 0.5, the mean over the classes that are in it."""
        if len(references) == 0:
            return torch.full((len(outputs),), math.nan, dtype=torch.float64)
        pairs = zip(outputs, references, strict=True)
        return torch.tensor([average_precision([found], [true]) for found, true in pairs], dtype=torch.float64)

    @property
    def utility_name(self) -> str:
        """Name of what :meth:`utility` measures."""
        return "AP@.5 per image"

    def agreement(self, outputs: Sequence[Objects], clean: Sequence[Objects]) -> Tensor:
        """Tell for each image whether every clean object is still found, with its class."""
        return torch.tensor([bool(still_found(*pair).all()) for pair in zip(outputs, clean, strict=True)])

    def labels(self, outputs: Sequence[Objects], references: Sequence[Objects] | None) -> Sequence[Objects]:
        """Return the clean outputs: attacks on detectors aim at what the detector sees, not at the ground truth."""
        if references is not None and not all(isinstance(known, Objects) for known in references):
            raise DataError(f"expected Objects as references of {self.name}, got {type(references[0]).__name__}")
        return outputs

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield the network alone, suppression alone of boxes that are all apart or all the same, and objects alone."""
        rest = [0] * (len(self.units) - 1)
        yield Work(torch.tensor([[1, *rest]])), torch.no_grad()(lambda: self._propose(inputs.to(self.device)))
        for count in sorted({1, min(self.nms.max_nms, self.anchors) // 2, min(self.nms.max_nms, self.anchors)} - {0}):
            for step in (0.0, 2.0):  # all the same, all apart
                corner = torch.arange(count, device=self.device)[:, None] * step
                boxes = (corner + torch.tensor([0.0, 0, 1, 1], device=self.device)).to(torch.float32)
                scores = torch.linspace(1, (1 + self.nms.conf) / 2, count, device=self.device)[:, None]
                kept = suppress(boxes, scores, self.nms)
                work = [0, kept.candidates, kept.pairs, *[0] * self._counting]
                yield Work(torch.tensor([work])), lambda boxes=boxes, scores=scores: suppress(boxes, scores, self.nms)  # type: ignore[misc]
        if self.per_object is not None:
            for count in sorted({1, self.nms.max_det // 2, self.nms.max_det} - {0}):
                box = torch.tensor([[0.0, 0, *self.space.shape[:0:-1]]], device=self.device).expand(count, -1)
                objects = Objects(box, torch.zeros(count, dtype=torch.int64), torch.ones(count))
                looked = torch.no_grad()(lambda objects=objects: self._look(inputs[0].to(self.device), objects))
                yield Work(torch.tensor([[0, 0, 0, count, *rest[3:]]])), looked

    def to(self, device: torch.device) -> Self:
        """Move the networks and return this target."""
        self.device = device
        for module in self.modules:
            module.to(device)
        return self

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: how many boxes are compared and kept, down to 1."""
        return max(min(self.nms.max_nms, self.anchors * len(self.classes)), self.nms.max_det)

    def at_rung(self, rung: int) -> Self:
        """Return the target at a rung of :meth:`rungs`."""
        most = self.rungs() - rung
        return self.with_nms(capped(self.nms, most, most))

    def with_nms(self, nms: NMS) -> Self:
        """Return a target that shares this one's networks but suppresses by other thresholds and caps."""
        other = copy.copy(self)
        other.nms = nms
        return other

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; caps, thresholds and all weights count."""
        return digest(f"{super().fingerprint()} {self.nms} {self.classes}", self.modules)

    @override
    def data(self, folder: Path | None) -> DataSet:
        if self._data is not None:
            return self._data(folder)
        return CocoImages(folder, self.space.shape, self.classes, letterbox=self.letterbox)
