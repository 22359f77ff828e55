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
from torpor.targets.detector.detection import PerObject
from torpor.training.card import write_card
from torpor.training.checkpoint import Checkpoint
from torpor.training.crafting import BatchAttack, unattacked
from torpor.training.detection_loss import GroundTruth, detection_loss
from torpor.training.detectors import judge
from torpor.training.image_recipe import ImageRecipe, with_noise
from torpor.training.loop import Model, Progress, begin, decayed, run_epochs, silent
from torpor.training.trainer import Trainer
from torpor.zoo.detection.classifier import SIDE
from torpor.zoo.detection.network import PyramidDetector
from torpor.zoo.detection.registry import DetectorEntry
from torpor.zoo.entry import save_half

JITTER = 0.1
"""A classifier learns from boxes whose sides are off by up to this share of the box's size, as a detector's are."""

SceneLoss = Callable[[Model, Tensor, Sequence[Objects], torch.Generator], Tensor]
"""Maps a model, images ``[B, 3, H, W]`` in [0, 1], their objects, and a random generator to the loss to minimize."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(ImageRecipe):
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

    def draw(epoch: int, rng: torch.Generator) -> list[range]:
        return [range(step * size, (step + 1) * size) for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)]

    def loss(numbers: range, epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        stored, objects = zip(*(data.sample("train", number) for number in numbers), strict=True)
        images = with_noise(to_unit(torch.stack(stored)), recipe.noise, rng).to(device)
        images = attack(model, images, objects, rng)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.autocast):
            found = loss_of(model, images.contiguous(memory_format=torch.channels_last), objects, rng)
        return found, found

    optimizer = torch.optim.AdamW(decayed(model.parameters(), recipe.weight_decay), lr=recipe.learning_rate)
    plan = {**asdict(recipe), "data": data.fingerprint()}
    state = Checkpoint(checkpoint, plan, model.state_dict(), [optimizer])
    return model, run_epochs(model, state, recipe, draw, loss, progress=progress)


def box_loss(model: PyramidDetector, images: Tensor, objects: Sequence[Objects], rng: torch.Generator) -> Tensor:
    """Return the loss of a detector; see :func:`torpor.training.detection_loss.detection_loss`."""
    proposed = model.propose(images)
    with torch.autocast(images.device.type, enabled=False):
        return detection_loss(*proposed, GroundTruth.of(objects).to(images.device))


def crop_loss(model: nn.Module, images: Tensor, objects: Sequence[Objects], rng: torch.Generator) -> Tensor:
    """Return the mean cross-entropy of a classifier of crops, whose boxes are off at random as a detector's are."""
    look = PerObject(model, SIDE)
    crops = []
    for image, known in zip(images, objects, strict=True):
        sides = (known.boxes[:, 2:] - known.boxes[:, :2]).repeat(1, 2)
        off = JITTER * (2 * torch.rand(len(known), 4, generator=rng) - 1)
        crops.append(look.crops(image, (known.boxes + off * sides).to(images.device)))
    labels = torch.cat([known.labels for known in objects]).to(images.device)
    return F.cross_entropy(model(torch.cat(crops)).float(), labels, reduction="sum") / max(1, len(labels))


@dataclass(frozen=True)
class DetectorTrainer(Trainer):
    """Trains a detector of the zoo."""

    entry: DetectorEntry
    recipe: DetectionRecipe

    def start(self) -> PyramidDetector:
        """Build the network that training starts from."""
        return self.entry.build()

    def attack(self) -> BatchAttack[PyramidDetector]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; without ``data_dir`` the detector learns digits only."""
        entry, recipe, data = self.entry, self.recipe, self.entry.data(data_dir)
        model, seconds = train(
            self.start,
            box_loss,
            data,
            recipe,
            self.checkpoint(folder),
            attack=self.attack(),
            device=device,
            progress=progress,
        )
        save_half(model, folder / f"{entry.name}.safetensors")
        write_card(entry.name, model, data, {}, recipe, folder, seconds)
        target, digits = entry.load(folder), entry.data(None)
        scores = {split: judge(target, digits, split) for split in ("test", "validation")}
        if data_dir is not None:
            scores["test with cifar10"] = judge(target, data, "test")
        return write_card(entry.name, model, data, scores, recipe, folder, seconds)
