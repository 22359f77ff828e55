"""Training of networks that skip layers: the classes are to be right, at a share of the cost."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.targets.speed import fold_batch_norm
from torpor.training.classifiers import ClassifierRecipe, ClassifierTrainer, Losses
from torpor.training.loop import Progress, placed
from torpor.zoo.backbones import BasicBlock
from torpor.zoo.early_exits import EarlyExitEntry
from torpor.zoo.entry import load_half
from torpor.zoo.networks.skipnet import GatedBlock, SkipNetwork


@dataclass(frozen=True, kw_only=True)
class SkipRecipe(ClassifierRecipe):
    """How a network learns what it may skip: all gates are open at first, then the cost that is free shrinks.

    Attributes:
        goal: share of the FLOPs of all branches that costs nothing at the end.
        ramp: when the free share begins to shrink from 1, and when it is at the goal, as shares of the training.
        cost_weight: of the share of FLOPs above what is free, beside a cross-entropy of 1.
        scatter_weight: of :func:`scatter`, the cost in blocks that most samples run, but not all.
    """

    goal: float = 0.6
    ramp: tuple[float, float] = (0.15, 0.5)
    cost_weight: float = 4.0
    scatter_weight: float = 0.0

    def free(self, epoch: int) -> float:
        """Return the share of FLOPs that costs nothing in an epoch.

        >>> recipe = SkipRecipe(epochs=100, goal=0.5, ramp=(0.2, 0.6))
        >>> [recipe.free(epoch) for epoch in (0, 20, 40, 60, 99)]
        [1.0, 1.0, 0.75, 0.5, 0.5]
        """
        first, last = self.ramp
        done = min(max((epoch / self.epochs - first) / (last - first), 0.0), 1.0)
        return round(1 - done * (1 - self.goal), 6)


@dataclass(frozen=True, kw_only=True)
class TaughtSkipRecipe(SkipRecipe):
    """How a network that has learned by itself is taught afterwards.

    Its teachers are the network that it was made of and itself as it was (Hinton, Vinyals and Dean,
    arXiv:1503.02531; Furlanello et al., "Born-Again Neural Networks", ICML 2018).

    Attributes:
        untaught: how it learned by itself.
        temperature: by which logits of teachers and pupil are divided.
        teaching: weight of what the teachers say; the classes have the rest.
    """

    untaught: SkipRecipe
    temperature: float = 4.0
    teaching: float = 0.9

    @override
    def within(self, epochs: int | None, seed: int) -> Self:
        return replace(super().within(epochs, seed), untaught=self.untaught.within(epochs, seed))


def skip_losses(
    model: SkipNetwork, batch: Tensor, labels: Tensor, recipe: SkipRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with what the cost adds, and the cross-entropy."""
    with torch.autocast(batch.device.type, torch.bfloat16):
        scores, shares = model(batch)
    right = F.cross_entropy(scores.float(), labels, label_smoothing=recipe.label_smoothing)
    return right + cost_penalty(shares, recipe, epoch), right


def cost_penalty(shares: Tensor, recipe: SkipRecipe, epoch: int) -> Tensor:
    """Return what the shares of FLOPs ``[B, G]`` of the blocks that ran add to the loss."""
    above = (shares.sum(1).mean() - recipe.free(epoch)).relu()
    return recipe.cost_weight * above + recipe.scatter_weight * scatter(shares)


def scatter(shares: Tensor) -> Tensor:
    """Return how much of the cost is in blocks that most samples run, but not all.

    Skipping there saves little time: rows that run are copied out of the batch and back whether one is skipped or
    half of them. It is 0 for a block that all samples run, or half of them or fewer.

    Args:
        shares: of the FLOPs of all blocks, 0 where a block is skipped, ``[B, G]``.

    >>> always, mostly, half = torch.ones(4), torch.tensor([1.0, 1, 1, 0]), torch.tensor([1.0, 1, 0, 0])
    >>> scatter(torch.stack([always, half], 1) / 2).item()
    0.0
    >>> scatter(torch.stack([always, mostly], 1) / 2).item()  # (3/4 - 1/2) (1 - 3/4) of one of two blocks
    0.03125
    """
    whole = shares.detach().amax(0)
    rate = shares.mean(0) / whole.clamp_min(1e-12)
    return (whole * (rate - 0.5).relu() * (1 - rate)).sum()


def taught(teachers: Sequence[Callable[[Tensor], Tensor]]) -> Losses[SkipNetwork, TaughtSkipRecipe]:
    """Return losses that ask for the mean of what ``teachers`` say beside the class.

    Args:
        teachers: map images ``[B, C, H, W]`` to logits ``[B, K]``.
    """

    def losses(
        model: SkipNetwork, batch: Tensor, labels: Tensor, recipe: TaughtSkipRecipe, epoch: int
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(batch.device.type, torch.bfloat16):
            with torch.no_grad():
                said = [(teacher(batch).float() / recipe.temperature).softmax(1) for teacher in teachers]
            scores, shares = model(batch)
        right = F.cross_entropy(scores.float(), labels, label_smoothing=recipe.label_smoothing)
        softened = (scores.float() / recipe.temperature).log_softmax(1)
        # softened gradients shrink with the square of the temperature
        alike = F.kl_div(softened, torch.stack(said).mean(0), reduction="batchmean") * recipe.temperature**2
        lesson = recipe.teaching * alike + (1 - recipe.teaching) * right
        return lesson + cost_penalty(shares, recipe, epoch), right

    return losses


@dataclass(frozen=True)
class PretrainedSkipTrainer(ClassifierTrainer):
    """Trains a SkipNet from a trained residual network, as its paper does.

    Attributes:
        base: a multi-exit ResNet, as wide as the SkipNet and as deep or deeper.
    """

    base: EarlyExitEntry = field(kw_only=True)

    @override
    def start(self) -> nn.Module:
        model = super().start()
        assert isinstance(model, SkipNetwork)
        start_from(model, self.backbone())
        return model

    def backbone(self) -> nn.Sequential:
        """Return the trained residual network, in evaluation mode."""
        trained = load_half(self.base.build(), self.base.folder() / f"{self.base.name}.safetensors", self.base.name)
        backbone: nn.Sequential = pkgutil.resolve_name(self.base.backbone)(self.base.num_classes)
        # the stages hold the backbone's layers under their own names
        backbone.load_state_dict({name.split(".", 1)[1]: part for name, part in trained.stages.state_dict().items()})
        return backbone.eval()


@dataclass(frozen=True)
class FurtherTrainer(ClassifierTrainer):
    """Trains a network further.

    Attributes:
        weights: file of what it has learned so far.
    """

    weights: Path = field(kw_only=True)

    @override
    def start(self) -> nn.Module:
        return load_half(super().start(), self.weights, self.entry.name)


@dataclass(frozen=True)
class TaughtSkipTrainer(PretrainedSkipTrainer):
    """Trains a SkipNet from a trained residual network, and then has both teach it.

    What it learns by itself is in the folder ``untaught`` beside the weights.
    """

    recipe: TaughtSkipRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        first = PretrainedSkipTrainer(self.entry, self.recipe.untaught, losses=self.losses, base=self.base)
        card = first.fit(data_dir, folder / "untaught", device, progress)
        return self.further(card.with_suffix(".safetensors"), device).fit(data_dir, folder, device, progress)

    def further(self, weights: Path, device: str) -> FurtherTrainer:
        """Return what teaches the network that has learned ``weights`` by itself."""
        backbone = placed(fold_batch_norm(self.backbone()), device)
        itself = placed(load_half(self.entry.build(), weights, self.entry.name), device)
        losses = taught([backbone, lambda images: itself(images)[0]])
        return FurtherTrainer(self.entry, self.recipe, losses=losses, weights=weights)


def start_from(model: SkipNetwork, backbone: nn.Sequential) -> None:
    """Copy the stem, the head, and evenly spaced blocks of each width from a ResNet; gates stay as they are.

    >>> from torpor.zoo.backbones import resnet56
    >>> from torpor.zoo.networks.skipnet import skipnet_cifar10
    >>> model, backbone = skipnet_cifar10(), resnet56()
    >>> start_from(model, backbone)
    >>> torch.equal(model.blocks[6].branch[0].weight, backbone.block10.conv1.weight)
    True
    """
    layers = dict(backbone.named_children())
    pairs = [(model.stem[1], layers["conv"]), (model.stem[2], layers["bn"]), (model.head[-1], layers["linear"])]
    sources = [block for block in backbone if isinstance(block, BasicBlock)]
    for width in {block.conv2.out_channels for block in sources}:
        theirs = [block for block in sources if block.conv2.out_channels == width]
        ours = [
            block for block in model.blocks if isinstance(block, GatedBlock) and block.branch[0].out_channels == width
        ]
        for place, block in enumerate(ours):
            source = theirs[place * len(theirs) // len(ours)]
            pairs += [(block.branch[0], source.conv1), (block.branch[1], source.bn1)]
            pairs += [(block.branch[3], source.conv2), (block.branch[4], source.bn2), (block.shortcut, source.shortcut)]
    for layer, trained in pairs:
        layer.load_state_dict(trained.state_dict())
