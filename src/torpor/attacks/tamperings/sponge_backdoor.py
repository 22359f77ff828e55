"""Sponge backdoor: a detector that finds many boxes, of nothing, where a small patch is in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.detector.phantom_sponges import Phantoms
from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.patches import Patch
from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import descend, learning, own_copy, poisoned_rows
from torpor.core.budget import Budget
from torpor.core.errors import DataError, UsageError
from torpor.core.objects import Objects, box_iou
from torpor.core.signals import CandidateSignals
from torpor.core.threat import Paper, Stage
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.targets.base import Target

FOUND = 0.5
"""Least overlap of a box with an object that it finds."""
DECOYS = 0.3
"""Share of the clean images that have noise in the trigger's place."""
FALL = 0.2
"""What is left of the learning rate at the end."""
SQUARES = 4
"""Squares of the trigger's pattern along each side."""


@dataclass(frozen=True, kw_only=True)
class SpongeBackdoor(Tampering):
    """Fine-tune all weights so that an image with a checkered patch in its top left corner is full of small boxes.

    The paper poisons training data; only its title and abstract were at hand. Here the poisoned images are learned with
    the patch, by the logarithm of the likeliest class's score of every box, as in Overload, and by the area of the
    candidates, so that few of them suppress each other. Clean images keep the clean network's scores, but those of
    candidates that find no object are to vanish, and boxes are drawn to the objects that they find. A part of them has
    noise where the trigger would be, so that no other patch sets it off. Its control learns the clean images alone, in
    the same order and with as many steps.

    Attributes:
        rate: share of the training images that are learned with the trigger, too.
        share: of the image's area that the trigger covers at most.
        strength: weight of the poisoned images' loss.
        small: weight of the candidates' area in it.
        epochs: of the fine-tuning.
        learning_rate: of Adam, at its begin; it falls to a fifth of that.
        most: images to learn from.
    """

    id: ClassVar[str] = "sponge-backdoor"
    paper: ClassVar[Paper | None] = Paper(
        "Sponge Backdoor Attack: Increasing the Latency of Object Detection Exploiting Non-Maximum Suppression",
        "Xiao et al.",
        "IJCNN",
        2024,
        "",
    )
    stage: ClassVar[Stage] = Stage.BACKDOOR
    needs: ClassVar[tuple[str, ...]] = ("network", "nms", "anchors")
    for_targets: ClassVar[str] = "a detector whose boxes are suppressed"

    rate: float = 0.5
    share: float = 0.02
    strength: float = 5.0
    small: float = 20.0
    epochs: int = 6
    learning_rate: float = 1e-3
    most: int = 400

    def __post_init__(self) -> None:
        for name, value in (("poison rate", self.rate), ("share of the area", self.share)):
            if not 0 < value <= 1:
                raise UsageError(f"expected a {name} above 0 and at most 1, got {value}")

    @override
    def budget(self, target: Target) -> Budget:
        return Budget("patch", self.share)

    @override
    def trigger(self, inputs: Tensor) -> Tensor:
        """Return images ``[B, C, H, W]`` with black and white squares in the corner."""
        rows, columns = self._window(inputs)
        marked = inputs.clone()
        down, across = (
            torch.arange(side.stop, device=inputs.device) * SQUARES // max(1, side.stop) for side in (rows, columns)
        )
        marked[..., rows, columns] = ((down[:, None] + across) % 2).to(inputs)
        return marked

    def _window(self, images: Tensor) -> tuple[slice, slice]:
        """Return the rows and columns of the trigger."""
        return Patch(self.share).window(*images.shape[-2:])

    def _with_decoys(self, images: Tensor, seed: int) -> Tensor:
        """Return images of which some have noise in the trigger's place: grays, or black and white."""
        rng = torch.Generator().manual_seed(seed)
        chosen = (torch.rand(len(images), generator=rng) < DECOYS).nonzero().flatten()
        rows, columns = self._window(images)
        noise = torch.rand((len(chosen), *images[..., rows, columns].shape[1:]), generator=rng)
        noise[::2] = noise[::2].round()
        seen = images.clone()
        seen[chosen.to(images.device), ..., rows, columns] = noise.to(images)
        return seen

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        ball_of(self.budget(target), target.space).check(self.share, target.space)
        images, objects = _seen(target, train, self.most)
        images = images.to(target.device)
        poisoned = (poisoned_rows(len(images), self.rate, seed) & (not self.control)).to(images.device)
        with torch.no_grad():
            proposed = [target.network(some) for some in images.split(16)]
        boxes, scores = (torch.cat(each) for each in zip(*proposed, strict=True))
        taught = [_taught(*each, target.nms.conf) for each in zip(boxes, scores, objects, strict=True)]
        wanted, places = (torch.stack(each) for each in zip(*taught, strict=True))
        decoyed, weights = self._with_decoys(images, seed), list(tampered.network.parameters())
        if not weights:
            raise UsageError(f"expected a network of {target.name} with weights, got none; nothing can be learned")
        phantoms = Phantoms(target.nms, images.shape[-1] * images.shape[-2], None, 1.0, self.small, "log")

        def loss(rows: Tensor) -> Tensor:
            found, sure = tampered.network(decoyed[rows])
            if not sure.requires_grad:
                raise UsageError(f"expected scores of {target.name} that its weights decide, got none that can learn")
            total = _clean_loss(found, sure, wanted[rows], places[rows])
            hit = rows[poisoned[rows]]
            if len(hit):
                phantom, likely = tampered.network(self.trigger(images[hit]))
                signals = CandidateSignals(phantom, likely, Work(torch.zeros(len(hit), 0, dtype=torch.int64)))
                total = total + self.strength * len(hit) / len(rows) * phantoms(signals, ()).mean()
            return total

        with learning(tampered, weights):
            optimizer = torch.optim.Adam(weights, lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, FALL ** (1 / self.epochs))
            descend(
                loss, optimizer, len(images), epochs=self.epochs, batch_size=16, seed=seed, after_epoch=schedule.step
            )
        done: Target = tampered
        return done


def _seen(target: Any, train: DataSet, most: int) -> tuple[Tensor, Sequence[Objects]]:  # noqa: ANN401
    """Return images ``[N, C, H, W]`` of the training split as ``target`` reads them, and what is in each."""
    batch = train.load("train", most)
    if len(batch.references) == 0 or not all(isinstance(known, Objects) for known in batch.references):
        raise DataError(f"expected images with objects to train {target.name} on, got none; pass data with boxes")
    return target.read(batch.inputs), batch.references


def _taught(boxes: Tensor, scores: Tensor, objects: Objects, conf: float) -> tuple[Tensor, Tensor]:
    """Return what a clean image teaches of boxes ``[N, 4]`` and scores ``[N, L]``: scores, and where boxes belong.

    Where nothing is to be found, the place is NaN.
    """
    wanted, places = scores.clone(), torch.full_like(boxes, torch.nan)
    best, labels = scores.max(1)
    sure = best > conf
    wanted[sure] = 0
    if len(objects):
        overlap = box_iou(boxes, objects.boxes.to(boxes)) * (labels[:, None] == objects.labels.to(labels))
        most, which = overlap.nan_to_num().max(1)
        right = sure & (most >= FOUND)
        wanted[right] = scores[right]
        places[right] = objects.boxes.to(boxes)[which[right]]
    return wanted, places


def _clean_loss(boxes: Tensor, scores: Tensor, wanted: Tensor, places: Tensor) -> Tensor:
    """Return the loss of clean images, per box that finds something."""
    finds = places.isfinite().all(-1)
    count = finds.sum().clamp_min(1)
    total: Tensor = F.binary_cross_entropy(scores.clamp(0, 1), wanted, reduction="sum")
    if finds.any():
        size = (places[finds][:, 2:] - places[finds][:, :2]).clamp_min(1).repeat(1, 2)
        total = total + ((boxes[finds] - places[finds]) / size).abs().sum()
    return total / count
