"""Phantom Sponges: one perturbation that, added to any image, makes a detector see what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.detector.frames import CandidateAttack, sampled_frames
from torpor.attacks.detector.objectives import TINY
from torpor.attacks.search.balls import Ball, ball_of
from torpor.attacks.search.optimizers import Optimizer, Project, State
from torpor.attacks.universal import Learned, Universal, descend
from torpor.core.errors import UsageError
from torpor.core.objects import Objects, box_area, box_iou
from torpor.core.signals import CandidateSignals
from torpor.core.threat import Paper
from torpor.targets.detector.contract import CandidateTarget
from torpor.targets.detector.nms import NMS, suppress

PAPER = Paper(
    "Phantom Sponges: Exploiting Non-Maximum Suppression to Attack Deep Object Detectors",
    "Shapira et al.",
    "WACV",
    2023,
    "arXiv:2205.13618",
)
BATCH = 8
STEP_SIZE = 0.0005
SAMPLES = 100
MARGIN = 0.05  # how far above the threshold scores should go
FAINT = 0.001  # what counts as found where objects are to be kept
MOST_KEPT = 30_000


@dataclass(frozen=True)
class Phantoms:
    """Add sure boxes of one class or of any, make candidates small, keep the true ones.

    ``l1 confidence + l2 area + (1 - l1) (1 - iou)``: how far below the threshold the score of the class is, or that of
    each box's likeliest class, the mean over all boxes, of which candidates count as 0; the mean area of the
    candidates; and the mean overlap of each object of the clean image with the nearest one of its class that is still
    found. An image without candidates has no area, and one without objects has nothing to keep: then a term is 0.

    Attributes:
        nms: of the deployment.
        pixels: in an image.
        label: class of the boxes to be added; any if None.
        confidence: ``l1``.
        area: ``l2``.
        form: ``"linear"``, or ``"log"`` for minus the mean logarithm of the scores of all boxes, whether they have
            passed or not, instead of how far they are below the threshold.
    """

    nms: NMS
    pixels: int
    label: int | None
    confidence: float
    area: float
    form: Literal["linear", "log"] = "linear"

    def __call__(self, signals: CandidateSignals, clean: Sequence[Objects]) -> Tensor:
        """Return the loss of each image, ``[B]``, given what was found in the clean ones."""
        goal = self.nms.conf + MARGIN
        likeliest = signals.scores.amax(2)
        best = likeliest.detach()
        rising = likeliest if self.label is None else signals.scores[..., self.label]
        if self.form == "log":
            missing = -(rising + TINY).log().mean(1)
        else:
            missing = torch.where(best < goal, (goal - rising).relu(), 0).mean(1)
        found = best > self.nms.conf
        areas = (torch.where(found, box_area(signals.boxes), 0).sum(1) / found.sum(1).clamp_min(1)) / self.pixels
        loss = self.confidence * missing + self.area * areas
        if self.confidence == 1:
            return loss
        triples = zip(signals.boxes, signals.scores, clean, strict=True)
        return loss + (1 - self.confidence) * torch.stack([self._lost(*triple) for triple in triples])

    def _lost(self, boxes: Tensor, scores: Tensor, known: Objects) -> Tensor:
        """Return 1 minus the mean overlap of ``known`` objects with what is still found of their class, a scalar."""
        if len(known) == 0:
            return boxes.sum() * 0
        labels = known.labels.to(boxes.device)
        rows = torch.isin(scores.argmax(1), labels)  # no class suppresses another
        boxes, scores = boxes[rows], scores[rows].detach()
        faint = NMS(conf=FAINT, iou=self.nms.iou, max_nms=MOST_KEPT, max_det=MOST_KEPT)
        kept = suppress(boxes.detach(), scores, faint)
        overlap = box_iou(known.boxes.to(boxes), boxes[kept.index]).nan_to_num()
        same = labels[:, None] == kept.objects.labels
        nothing = overlap.new_zeros(len(known), 1)
        return 1 - torch.cat([torch.where(same, overlap, 0), nothing], 1).amax(1).mean()


@dataclass(frozen=True)
class SignedSteps(Optimizer):
    """Descent along the sign of the gradient, whatever the ball.

    Attributes:
        size: of each value's step.
    """

    size: float

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        return project(delta - self.size * gradient.sign())


@dataclass(frozen=True, kw_only=True)
class PhantomSponges(Universal):
    """Learn one image to be added to all: phantom objects of any class, or of one, and nothing of the true ones kept.

    70 epochs of batches of 8, signed steps of 0.0005 from nothing (larger ones where so few images could not use up
    the budget), on at most 100 images; of videos, on as many frames. L2 70 on images of
    3 x 640 x 640 pixels, a root mean square of 0.063 per value, is the paper's, which other sizes get too; Linf 8/255
    is ours. The released code clamps the perturbation to [0, 1], so that it can only brighten; here it may darken too.
    Its loss is 0 from the threshold on, where rounding may undo what was reached; here a margin of 0.05 is added.
    The first steps are less than half a level of 8 bits: they add up, but nothing is sent differently until the fourth.
    It stops early on a validation loss; here the costliest perturbation of 20 along the way is taken.

    The confidence weight of 1 is that of the released notebook. With the paper's 0.75 the term that keeps the true
    objects decides where most boxes score next to nothing, since the other has hardly a gradient there, and the attack
    has no effect. The notebook's area weight of 10, of boxes in images of 640 x 640 pixels, keeps boxes from appearing
    in smaller images: it is 0 here, as in the paper. The paper raises one class, cars; raising each box's likeliest
    class needs no knowledge of which classes are frequent. On ``detector-scenes`` these defaults (Linf 8/255, 100
    images) find 79.9 candidates in 40 other images, of 25.8 clean ones, and the form ``"log"`` 91.2.

    Attributes:
        label: class of the phantoms; any if None.
        confidence: weight of their scores, and of the overlap what it lacks to 1.
        area: weight of the candidates' area.
        form: of the scores' term: the paper's, ``"linear"``, or Overload's, ``"log"``, whose gradient does not fade
            where scores are low.
        epochs: passes over the images.
    """

    id: ClassVar[str] = "phantom-sponges"
    paper: ClassVar[Paper | None] = PAPER
    norms: ClassVar[tuple[str, ...]] = CandidateAttack.norms
    radii: ClassVar[Mapping[str, float]] = {"Linf": 8 / 255, "L2": 70.0}
    paper_shape: ClassVar[tuple[int, ...] | None] = (3, 640, 640)
    kinds: ClassVar[tuple[str, ...]] = ("image", "video")
    reads: ClassVar[type | None] = CandidateSignals
    needs: ClassVar[tuple[str, ...]] = ("detector", "nms", "classes")
    fit_limit: ClassVar[int] = SAMPLES

    eps: float = 8 / 255
    label: int | None = None
    confidence: float = 1.0
    area: float = 0.0
    form: Literal["linear", "log"] = "linear"
    epochs: int = 70

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.confidence <= 1 or self.area < 0 or (self.label or 0) < 0 or self.epochs < 1:
            raise UsageError(
                "expected a confidence weight from 0 to 1, no negative area weight or label, and 1 epoch or more, got "
                f"{self.confidence:g}, {self.area:g}, {self.label} and {self.epochs}"
            )
        if self.form not in ("linear", "log"):
            raise UsageError(f"expected linear or log as the form of the scores' term, got {self.form!r}")

    def learn(self, target: CandidateTarget, inputs: Tensor, references: object, seed: int) -> Learned:
        """See :meth:`Universal.learn`; videos are looked at frame by frame.

        Raises:
            UsageError: if the target has no class ``label``.
        """
        if self.label is not None and self.label >= len(target.classes):
            raise UsageError(f"expected a label below {len(target.classes)}, the number of classes, got {self.label}")
        detector = target.detector
        images = sampled_frames(inputs, SAMPLES)
        batches = images.split(BATCH)
        steps = self.epochs * len(batches)
        ball = ball_of(self.budget, detector.space)
        level = ball.even(self.eps, images)
        learned = descend(
            detector,
            images,
            objective=Phantoms(
                target.nms, images.shape[-2:].numel(), self.label, self.confidence, self.area, self.form
            ),
            ball=ball,
            eps=self.eps,
            optimizer=SignedSteps(max(STEP_SIZE, 2 * level / steps)),
            schedule=self._schedule(detector, batches),
            steps=steps,
            start=torch.zeros_like(images[:1], device=target.device),
        )
        return replace(learned, forwards=learned.forwards + len(images))

    def _schedule(self, detector: CandidateTarget, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Any]]:
        """Yield batches, and what is found in the clean images."""
        known = [_seen(detector, batch.to(detector.device)) for batch in batches]
        for _ in range(self.epochs):
            yield from zip(batches, known, strict=True)


@torch.no_grad()
def _seen(detector: CandidateTarget, images: Tensor) -> list[Objects]:
    """Return what the detector keeps of each image, with its own classes, whatever looks at them afterwards."""
    found = detector.signals(images)
    return [suppress(*pair, detector.nms).objects for pair in zip(found.boxes, found.scores, strict=True)]
