"""Train a classifier of images: resumable, augmented, the same weights for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.data.images import ImageSet, to_unit
from torpor.data.sets import Batch
from torpor.targets.early_exit.family import GatedClassifier
from torpor.training.checkpoint import Checkpoint
from torpor.training.crafting import BatchAttack, unattacked
from torpor.training.loop import LoopRecipe, Progress, begin, decayed, run_epochs, shuffled, silent
from torpor.training.trainer import Trainer
from torpor.zoo.classifiers import ClassifierEntry
from torpor.zoo.entry import save_card, save_half

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(LoopRecipe):
    """How a network learns from images: one-cycle learning rates, random crops and mirroring.

    Attributes:
        batch_size: images per step.
        learning_rate: peak.
        weight_decay: of matrices and kernels.
        label_smoothing: of the loss.
        pad: random crops from images padded by this many pixels.
        flip: mirror half of the images.
        cutout: side of the gray square put on each image, in pixels (DeVries and Taylor, arXiv:1708.04552).
        sizes: sides to which images are scaled, one per equal part of the training; small images first are cheap
            epochs (Tan and Le, "EfficientNetV2", ICML 2021). Empty means the images' own size.
    """

    batch_size: int = 128
    learning_rate: float = 0.15
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    pad: int = 4
    flip: bool = True
    cutout: int = 0
    sizes: tuple[int, ...] = ()


RecipeT = TypeVar("RecipeT", bound=ClassifierRecipe)

Losses = Callable[[Net, Tensor, Tensor, RecipeT, int], tuple[Tensor, Tensor]]
"""Return the loss to descend and the part of it to show, of images ``[B, C, H, W]``, classes ``[B]`` and an epoch."""
Optimizers = Callable[[Net, RecipeT], list[torch.optim.Optimizer]]


def sgd(model: nn.Module, recipe: ClassifierRecipe) -> list[torch.optim.Optimizer]:
    """Return SGD with Nesterov momentum, for convolutional networks."""
    groups = decayed(model.parameters(), recipe.weight_decay)
    return [torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)]


def adamw(model: nn.Module, recipe: ClassifierRecipe) -> list[torch.optim.Optimizer]:
    """Return AdamW, for transformers and small networks."""
    return [torch.optim.AdamW(decayed(model.parameters(), recipe.weight_decay), lr=recipe.learning_rate)]


def train_classifier(
    build: Callable[[], Net],
    data: Batch,
    recipe: RecipeT,
    checkpoint: Path,
    losses: Losses[Net, RecipeT],
    optimizers: Optimizers[Net, RecipeT],
    *,
    attack: BatchAttack[Net] = unattacked,
    device: str = "cpu",
    progress: Progress = silent,
) -> Net:
    """Train what ``build`` returns, or go on from ``checkpoint`` where an interrupted run of the same recipe left one.

    The checkpoint is replaced after every epoch. ``attack`` changes each batch before it is learned from.

    Returns:
        The trained network on ``device``, in evaluation mode.

    Raises:
        UsageError: if there are fewer samples than a batch holds, or the checkpoint is damaged or of another recipe
            that is not finished.
    """
    model = begin(build, recipe.seed, device)
    images, labels = data.inputs.to(device), data.references.to(device)

    def draw(epoch: int, rng: torch.Generator) -> list[Tensor]:
        return shuffled(len(data), recipe.batch_size, rng)

    def loss(rows: Tensor, epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        pick = rows.to(device)
        batch = resize(augment(to_unit(images[pick]), recipe, rng), recipe, epoch)
        batch = attack(model, batch, labels[pick], rng)
        return losses(model, batch.contiguous(memory_format=torch.channels_last), labels[pick], recipe, epoch)

    state = Checkpoint(checkpoint, asdict(recipe), model.state_dict(), optimizers(model, recipe))
    run_epochs(model, state, recipe, draw, loss, progress=progress)
    return model


def augment(images: Tensor, recipe: ClassifierRecipe, rng: torch.Generator) -> Tensor:
    """Crop and mirror each image ``[B, C, H, W]`` at random, and hide a square of it."""
    batch, _, height, width = images.shape
    device = images.device
    if recipe.pad:
        padded = F.pad(images, [recipe.pad] * 4)
        shift = torch.randint(0, 2 * recipe.pad + 1, (2, batch), generator=rng).to(device)
        rows = shift[0, :, None] + torch.arange(height, device=device)
        columns = shift[1, :, None] + torch.arange(width, device=device)
        each = torch.arange(batch, device=device)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.flip:
        mirror = (torch.rand(batch, generator=rng) < 0.5).to(device)
        images = torch.where(mirror[:, None, None, None], images.flip(-1), images)
    if recipe.cutout:
        centre = torch.rand(2, batch, 1, generator=rng).to(device)
        hidden = [
            (torch.arange(side, device=device) + 0.5 - centre[axis] * side).abs() < recipe.cutout / 2
            for axis, side in enumerate((height, width))
        ]
        images = torch.where((hidden[0][:, :, None] & hidden[1][:, None, :])[:, None], 0.5, images)
    return images


def resize(images: Tensor, recipe: ClassifierRecipe, epoch: int) -> Tensor:
    """Scale images ``[B, C, H, W]`` to the size that the recipe has for ``epoch``.

    >>> recipe = ClassifierRecipe(epochs=4, sizes=(16, 32))
    >>> [resize(torch.zeros(1, 3, 32, 32), recipe, epoch).shape[-1] for epoch in range(4)]
    [16, 16, 32, 32]
    """
    if not recipe.sizes:
        return images
    size = recipe.sizes[epoch * len(recipe.sizes) // recipe.epochs]
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def cross_entropy(
    model: nn.Module, batch: Tensor, labels: Tensor, recipe: ClassifierRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the logits that ``model`` returns, computed in bfloat16, twice."""
    with torch.autocast(batch.device.type, torch.bfloat16):
        logits = model(batch)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    return loss, loss


@dataclass(frozen=True)
class ClassifierTrainer(Trainer):
    """Trains a classifier of the zoo whose gates decide what is computed.

    Attributes:
        losses: what is descended.
        optimizers: what descends it.
    """

    entry: ClassifierEntry
    recipe: ClassifierRecipe
    losses: Losses[Any, Any] = field(default=cross_entropy, kw_only=True)
    optimizers: Optimizers[Any, Any] = field(default=sgd, kw_only=True)

    def start(self) -> nn.Module:
        """Build the network that training starts from."""
        return self.entry.build()

    def attack(self) -> BatchAttack[Any]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; the card tells accuracy and cost on validation and test data."""
        data = self.entry.data(data_dir)
        model = train_classifier(
            self.start,
            data.load("train"),
            self.recipe,
            self.checkpoint(folder),
            self.losses,
            self.optimizers,
            attack=self.attack(),
            device=device,
            progress=progress,
        )
        weights = folder / f"{self.entry.name}.safetensors"
        save_half(model, weights)
        target = self.entry.open(weights)
        card = {
            "name": self.entry.name,
            "parameters": sum(value.numel() for value in model.parameters()),
            "data": data.name,
            "flops_per_unit": {unit.name: unit.flops for unit in target.units},
            **{split: judged(target, data, split) for split in ("test", "validation")},
            "recipe": asdict(self.recipe),
            "torch": torch.__version__,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        }
        return save_card(folder / f"{self.entry.name}.json", card)


def judged(target: GatedClassifier, data: ImageSet, split: str, limit: int | None = None) -> dict[str, float]:
    """Return the accuracy on a split as deployed, and the mean cost as a share of the static bound.

    Args:
        target: as deployed.
        data: that it is judged on.
        split: of them.
        limit: images at most; all if None.
    """
    right, share = [], []
    for batch in data.batches(split, 250, limit):
        images = to_unit(batch.inputs)
        outcome = target.run(images)
        right.append(target.utility(outcome.outputs, batch.references))
        share.append(target.prices.cost(outcome.work) / target.prices.cost(target.max_work(images)))
    return {
        "accuracy": round(torch.cat(right).mean().item(), 4),
        "cost_share": round(torch.cat(share).mean().item(), 4),
    }
