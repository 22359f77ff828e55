"""Hardening by distillation between exits, after NEO-KD (Ham et al., NeurIPS 2023, arXiv:2311.00428).

To adversarial training of a multi-exit network it adds two losses on the attacked images. What teaches each of them is
the network itself on the same image before the attack, in evaluation mode and without gradients: each exit learns the
mean prediction of its neighbors, and, of its own prediction, the true class and a group of wrong classes that no other
exit learns, so that exits have less in common that an attack on one could carry over to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.resolve import HARDENED_SUFFIX, NEO_KD_SUFFIX
from torpor.training.classifiers import Losses
from torpor.training.crafting import BatchAttack, as_deployed
from torpor.training.early_exit import exit_logits, label_losses
from torpor.training.hardening import HARDENERS, ExitHardener, HardRecipe
from torpor.zoo.hardened import hardened


@dataclass(frozen=True, kw_only=True)
class DistillationRecipe(HardRecipe):
    """How a multi-exit network is hardened by distillation.

    Attributes:
        neighbor: weight of the loss that teaches each exit the mean clean prediction of its neighbors.
        orthogonal: weight of the loss that teaches each exit its own clean prediction of its own classes.
    """

    neighbor: float
    orthogonal: float


def neighbor_means(predictions: Tensor) -> Tensor:
    """Return for each exit the mean of the predictions of itself and of the exits next to it, ``[B, K, C]``.

    Args:
        predictions: probabilities of all exits, ``[B, K, C]``.

    >>> neighbor_means(torch.tensor([[[0.9], [0.6], [0.0]]])).flatten().tolist()
    [0.75, 0.5, 0.30000001192092896]
    """
    exits = predictions.shape[1]
    near = [predictions[:, max(k - 1, 0) : min(k + 2, exits)].mean(1) for k in range(exits)]
    return torch.stack(near, 1)


def class_groups(classes: int, exits: int, seed: int) -> Tensor:
    """Deal the wrong classes of each true class to the exits at random: bool ``[C, K, C]``, true class first.

    Each exit has the true class and a group of wrong ones; the groups of one true class are disjoint, hold all wrong
    classes, and differ by one in size at most. They are the same throughout a training: groups drawn anew would teach
    all exits the same on average.

    >>> groups = class_groups(classes=5, exits=2, seed=0)
    >>> groups.sum(1).tolist()[0], groups.sum(2).tolist()[0]
    ([2, 1, 1, 1, 1], [3, 3])
    """
    rng = torch.Generator().manual_seed(seed)
    groups = torch.eye(classes, dtype=torch.bool)[:, None].repeat(1, exits, 1)
    for label in range(classes):
        wrong = torch.randperm(classes - 1, generator=rng)
        wrong += wrong >= label
        groups[label, torch.arange(classes - 1) % exits, wrong] = True
    return groups


def orthogonal_labels(predictions: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Return each exit's predictions of the true class and its own group, scaled to sum to 1, ``[B, K, C]``.

    Args:
        predictions: probabilities of all exits, ``[B, K, C]``.
        labels: true classes, ``[B]``.
        groups: see :func:`class_groups`.

    >>> groups = class_groups(classes=3, exits=2, seed=0)
    >>> orthogonal_labels(torch.tensor([[[0.5, 0.25, 0.25]] * 2]), torch.tensor([0]), groups).gt(0).sum((0, 1)).tolist()
    [2, 1, 1]
    """
    kept = predictions * groups[labels]
    return kept / kept.sum(2, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)


def distillation_losses(
    model: ShallowDeepNetwork, batch: Tensor, labels: Tensor, recipe: DistillationRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the loss to descend and, for show, the last exit's cross-entropy.

    Args:
        model: in training mode.
        batch: ``[B + A, C, H, W]``: what is learned from, A attacked images first, then these before the attack.
        labels: classes of the first B.
        recipe: weighs the losses; all are means over the B images and sums over exits.
        epoch: is not used.
    """
    images, clean = batch[: len(labels)], batch[len(labels) :]
    with as_deployed(model), torch.no_grad():
        predictions = model(clean).softmax(2)
    logits = exit_logits(model, images, recipe)
    descended, final = label_losses(logits, labels, recipe)
    own = orthogonal_labels(
        predictions,
        labels[: len(clean)],
        class_groups(predictions.shape[2], len(logits), recipe.seed).to(labels.device),
    )
    for weight, taught in ((recipe.neighbor, neighbor_means(predictions)), (recipe.orthogonal, own)):
        descended = descended + weight * _soft_losses(logits, taught) / len(labels)
    return descended, final


def _soft_losses(logits: Sequence[Tensor], taught: Tensor) -> Tensor:
    """Return the cross-entropy to probabilities ``[A, K, C]`` of the first A rows of all exits, summed."""
    rows = torch.stack([each[: len(taught)] for each in logits], 1)
    return F.cross_entropy(rows.flatten(0, 1), taught.flatten(0, 1), reduction="sum")


@dataclass(frozen=True)
class ExitDistiller(ExitHardener):
    """Hardens a multi-exit network as :class:`ExitHardener` does, and by distillation between its exits."""

    recipe: DistillationRecipe

    @override
    def attack(self) -> BatchAttack[ShallowDeepNetwork]:
        """Return the attack whose batches end with the attacked images as they were before."""
        attacked = super().attack()

        def attack(model: ShallowDeepNetwork, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
            clean = images[: round(self.recipe.attacked * len(images))]
            return torch.cat([attacked(model, images, labels, rng), clean])

        return attack

    @override
    def losses(self) -> Losses[ShallowDeepNetwork, Any]:
        return distillation_losses


def _distilled(name: str, neighbor: float, orthogonal: float) -> ExitDistiller:
    """Return what trains by the recipe of the hardened network of the same base, and by distillation too."""
    hardener = HARDENERS[name + HARDENED_SUFFIX]
    assert isinstance(hardener, ExitHardener)
    recipe = DistillationRecipe(**asdict(hardener.recipe), neighbor=neighbor, orthogonal=orthogonal)
    entry = hardened(hardener.base, NEO_KD_SUFFIX)
    return ExitDistiller(entry, recipe, base=hardener.base, judges=hardener.judges)


DISTILLERS: dict[str, ExitDistiller] = {
    trainer.entry.name: trainer for trainer in (_distilled("sdn-digits", neighbor=1.0, orthogonal=1.0),)
}
