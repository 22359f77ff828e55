"""Train a detector, or a classifier of its boxes, on scenes of which none is seen twice: resumable, reproducible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.objects import Objects
from torpor.data.images import to_unit
from torpor.data.object_scenes import ObjectScenes
from torpor.targets.detection import PerObject
from torpor.zoo.detection.classifier import SIDE
from torpor.zoo.detection.loss import Truth, detection_loss
from torpor.zoo.detection.network import Detector
from torpor.zoo.entry import Progress, silent
from torpor.zoo.recipes.checkpoint import Checkpoint
from torpor.zoo.recipes.crafting import BatchAttack, unattacked
from torpor.zoo.recipes.loop import Model, begin, decayed, run_epochs
from torpor.zoo.recipes.pictures import PictureRecipe, with_noise

JITTER = 0.1
"""A classifier learns from boxes whose sides are off by up to this share of the box's size, as a detector's are."""

SceneLoss = Callable[[Model, Tensor, Sequence[Objects], torch.Generator], Tensor]
"""Maps a model, pictures ``[B, 3, H, W]`` in [0, 1], what is in them, and a source of chance to the loss to descend."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(PictureRecipe):
    """How a network is trained on scenes, of which each epoch has new ones."""

    batch_size: int = 32
    noise: float = 0.06


def train(
    build: Callable[[], Model],
    loss_of: SceneLoss[Model],
    data: ObjectScenes,
    recipe: DetectionRecipe,
    checkpoint: Path,
    *,
    attack: BatchAttack[Model] = unattacked,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[Model, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The checkpoint is replaced after every epoch. ``attack`` changes each batch before it is learned from.

    Returns:
        The trained network on ``device``, in evaluation mode, and the seconds that all runs took together.

    Raises:
        DataError: if the data cannot be read.
        UsageError: if the checkpoint is damaged, or of another recipe that is not finished.
    """
    model = begin(build, recipe.seed, device)
    per_epoch, size = max(1, data.sizes["train"] // recipe.batch_size), recipe.batch_size

    def draw(epoch: int, chance: torch.Generator) -> list[range]:
        return [range(step * size, (step + 1) * size) for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)]

    def loss(numbers: range, epoch: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        pictures, objects = zip(*(data.sample("train", number) for number in numbers), strict=True)
        images = with_noise(to_unit(torch.stack(pictures)), recipe.noise, chance).to(device)
        images = attack(model, images, objects, chance)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.autocast):
            found = loss_of(model, images.contiguous(memory_format=torch.channels_last), objects, chance)
        return found, found

    optimizer = torch.optim.AdamW(decayed(model.parameters(), recipe.weight_decay), lr=recipe.learning_rate)
    plan = {**asdict(recipe), "data": data.fingerprint()}
    state = Checkpoint(checkpoint, plan, model.state_dict(), [optimizer])
    return model, run_epochs(model, state, recipe, draw, loss, progress=progress)


def box_loss(model: Detector, images: Tensor, objects: Sequence[Objects], chance: torch.Generator) -> Tensor:
    """Return the loss of a detector; see :func:`torpor.zoo.detection.loss.detection_loss`."""
    proposed = model.propose(images)
    with torch.autocast(images.device.type, enabled=False):
        return detection_loss(*proposed, Truth.of(objects).to(images.device))


def crop_loss(model: nn.Module, images: Tensor, objects: Sequence[Objects], chance: torch.Generator) -> Tensor:
    """Return the mean cross-entropy of a classifier of crops, whose boxes are off at random as a detector's are."""
    look = PerObject(model, SIDE)
    crops = []
    for image, known in zip(images, objects, strict=True):
        sides = (known.boxes[:, 2:] - known.boxes[:, :2]).repeat(1, 2)
        off = JITTER * (2 * torch.rand(len(known), 4, generator=chance) - 1)
        crops.append(look.crops(image, (known.boxes + off * sides).to(images.device)))
    labels = torch.cat([known.labels for known in objects]).to(images.device)
    return F.cross_entropy(model(torch.cat(crops)).float(), labels, reduction="sum") / max(1, len(labels))
