"""Train a multi-exit network: all exits at once, resumable, the same weights for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.data.images import to_unit
from torpor.data.sets import Batch
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.training.checkpoint import Checkpoint
from torpor.training.crafting import BatchAttack, unattacked
from torpor.training.early_exit_card import save_model
from torpor.training.loop import LoopRecipe, Progress, begin, decayed, run_epochs, shuffled, silent
from torpor.training.trainer import Trainer
from torpor.zoo.early_exits import EarlyExitEntry


@dataclass(frozen=True, kw_only=True)
class Recipe(LoopRecipe):
    """How a network is trained: one-cycle learning rates, bfloat16 autocast, random crops and mirroring.

    Attributes:
        batch_size: images per step.
        learning_rate: peak for the backbone (SGD with Nesterov momentum 0.9).
        head_learning_rate: peak for the internal classifiers (Adam).
        weight_decay: of the backbone's matrices and kernels.
        label_smoothing: of the last exit's loss.
        supervision: share of the internal classifiers' gradient that reaches the backbone.
        pad: random crops from images padded by this many pixels.
        flip: mirror half of the images.
        cutout: side of the gray square put on each image, in pixels (DeVries and Taylor, arXiv:1708.04552).
        sizes: sides to which images are scaled, one per equal part of the training; small images first are cheap
            epochs (Tan and Le, "EfficientNetV2", ICML 2021). Empty means the images' own size.
    """

    batch_size: int = 128
    learning_rate: float = 0.15
    head_learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    supervision: float = 0.1
    pad: int = 4
    flip: bool = True
    cutout: int = 0
    sizes: tuple[int, ...] = ()


def train(
    build: Callable[[], ShallowDeepNetwork],
    data: Batch,
    recipe: Recipe,
    checkpoint: Path,
    *,
    attack: BatchAttack[ShallowDeepNetwork] = unattacked,
    device: str = "cpu",
    progress: Progress = silent,
) -> ShallowDeepNetwork:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The internal classifiers learn from the backbone's features (Kaya et al., ICML 2019, "IC-only"), and a small share
    of their gradient, weighted by depth, supervises the backbone. The checkpoint is replaced after every epoch.
    ``attack`` changes each batch before it is learned from.

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
        return losses(model, batch.contiguous(memory_format=torch.channels_last), labels[pick], recipe)

    state = Checkpoint(checkpoint, asdict(recipe), model.state_dict(), _optimizers(model, recipe))
    run_epochs(model, state, recipe, draw, loss, progress=progress)
    return model


def losses(model: ShallowDeepNetwork, batch: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return the loss to descend and, for show, the last exit's own."""
    exits = len(model.heads)
    internal = torch.zeros((), device=batch.device)
    final = internal
    with torch.autocast(batch.device.type, torch.bfloat16):
        features = batch
        for k, (stage, head) in enumerate(zip(model.stages, model.heads, strict=True)):
            features = stage(features)
            if k == exits - 1:
                final = F.cross_entropy(head(features).float(), labels, label_smoothing=recipe.label_smoothing)
            else:
                share = recipe.supervision * (k + 1) / exits
                seen = features.detach() * (1 - share) + features * share
                internal = internal + F.cross_entropy(head(seen).float(), labels)
    return final + internal, final


def _optimizers(model: ShallowDeepNetwork, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return SGD for the backbone, whose last head is part of it, and Adam for the internal classifiers."""
    backbone = [*model.stages.parameters(), *model.heads[-1].parameters()]
    heads = [p for head in list(model.heads)[:-1] for p in head.parameters()]
    return [
        torch.optim.SGD(decayed(backbone, recipe.weight_decay), lr=recipe.learning_rate, momentum=0.9, nesterov=True),
        torch.optim.Adam(heads, lr=recipe.head_learning_rate),
    ]


def augment(images: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
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


def resize(images: Tensor, recipe: Recipe, epoch: int) -> Tensor:
    """Scale images ``[B, C, H, W]`` to the size that the recipe has for ``epoch``.

    >>> recipe = Recipe(epochs=4, sizes=(16, 32))
    >>> [resize(torch.zeros(1, 3, 32, 32), recipe, epoch).shape[-1] for epoch in range(4)]
    [16, 16, 32, 32]
    """
    if not recipe.sizes:
        return images
    size = recipe.sizes[epoch * len(recipe.sizes) // recipe.epochs]
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class EarlyExitTrainer(Trainer):
    """Trains a multi-exit network of the zoo."""

    entry: EarlyExitEntry
    recipe: Recipe

    def start(self) -> ShallowDeepNetwork:
        """Build the network that training starts from."""
        return self.entry.build()

    def attack(self) -> BatchAttack[ShallowDeepNetwork]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; thresholds are chosen on validation data, never on test data."""
        data = self.entry.data(data_dir)
        model = train(
            self.start,
            data.load("train"),
            self.recipe,
            self.checkpoint(folder),
            attack=self.attack(),
            device=device,
            progress=progress,
        )
        return save_model(self.entry, model, data, self.recipe, folder)
