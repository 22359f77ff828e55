"""How vision transformers learn from images, and how they learn to skip tokens, heads and layers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.targets.tokens.adavit import gate, used
from torpor.targets.tokens.avit import THRESHOLD, Halted, halted
from torpor.training.classifiers import ClassifierRecipe, ClassifierTrainer, adamw
from torpor.zoo.classifiers import CLASSIFIERS, ClassifierEntry
from torpor.zoo.entry import load_half
from torpor.zoo.networks.adaptive import HaltingTransformer, PolicyTransformer
from torpor.zoo.networks.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe(ClassifierRecipe):
    """How the backbone learns: from random halves of the patches first, then from all.

    Training on part of the patches costs less and makes the network bear the loss of tokens (Liu et al.,
    "PatchDropout", WACV 2023).

    Attributes:
        keep: share of the patches that is looked at.
        whole_epochs: epochs at the end that look at all of them.
    """

    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    keep: float = 0.5
    whole_epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class PatchHaltingRecipe(TransformerRecipe):
    """How patches learn to halt (A-ViT).

    Attributes:
        ponder: weight of the mean ponder.
        prior: weight of the divergence of the mean distribution of halting from a Gaussian of width 1 around ``depth``.
        depth: layers after which patches halt on average.
    """

    learning_rate: float = 5e-4
    ponder: float = 0.02
    prior: float = 0.1
    depth: float = 3.0


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe(TransformerRecipe):
    """How policies learn to use less (AdaViT).

    Attributes:
        usage: weight of the squared distances of mean usages from those to reach.
        tokens: share of patches to use.
        heads: share of heads to use.
        blocks: share of halves of layers to use.
        noise: width of the logistic noise on logits.
    """

    learning_rate: float = 5e-4
    usage: float = 4.0
    tokens: float = 0.6
    heads: float = 0.7
    blocks: float = 0.8
    noise: float = 0.5


def dropped_patches(
    model: VisionTransformer, batch: Tensor, labels: Tensor, recipe: TransformerRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy on a random part of the patches, computed in bfloat16, twice."""
    keep = recipe.keep if epoch < recipe.epochs - recipe.whole_epochs else 1.0
    with torch.autocast(batch.device.type, torch.bfloat16):
        logits = model(batch, keep)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    return loss, loss


def pondered(
    model: HaltingTransformer, batch: Tensor, labels: Tensor, recipe: PatchHaltingRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with what halting adds, and without."""
    with torch.autocast(batch.device.type, torch.bfloat16):
        found = halted(model, batch)
    loss = F.cross_entropy(found.scores.float(), labels, label_smoothing=recipe.label_smoothing)
    steps = found.alive.detach().sum(1)
    before = (found.cumulative - found.halting).gather(1, (steps.long() - 1)[:, None])
    ponder = (steps + 1 - before[:, 0]).mean()
    return loss + recipe.ponder * ponder + recipe.prior * from_prior(found, recipe.depth), loss


def from_prior(found: Halted, depth: float) -> Tensor:
    """Return how far the mean distribution of halting over layers is from a Gaussian around ``depth``, ``[]``."""
    before = (found.cumulative - found.halting).clamp(max=THRESHOLD)
    mass = torch.cat([found.halting[:, :-1].minimum(1 - before[:, :-1]), 1 - before[:, -1:]], 1).mean((0, 2))
    mass = mass.clamp_min(1e-6) / mass.sum()
    layers = torch.arange(1, len(mass) + 1, device=mass.device)
    prior = (-0.5 * (layers - depth) ** 2).softmax(0)
    return (prior * (prior / mass).log()).sum()


def thrifty(
    model: PolicyTransformer, batch: Tensor, labels: Tensor, recipe: PolicyRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with the distance of usages from those to reach, and without."""

    def noise(logits: Tensor) -> Tensor:
        return logits + recipe.noise * torch.rand_like(logits).clamp(1e-4, 1 - 1e-4).logit()

    with torch.autocast(batch.device.type, torch.bfloat16):
        found = used(model, batch, noise=noise)
    loss = F.cross_entropy(found.scores.float(), labels, label_smoothing=recipe.label_smoothing)
    parts = gate(found.layer_logits)
    means = torch.stack([gate(found.token_logits).mean(), parts[..., :-2].mean(), parts[..., -2:].mean()])
    wanted = means.new_tensor([recipe.tokens, recipe.heads, recipe.blocks])
    return loss + recipe.usage * ((means - wanted) ** 2).sum(), loss


@dataclass(frozen=True)
class Finetuner(ClassifierTrainer):
    """Trains a transformer that skips from the weights of another, which does not know how.

    Attributes:
        base: that other; None to train from scratch.
    """

    base: ClassifierEntry | None = field(default=None, kw_only=True)

    @override
    def start(self) -> nn.Module:
        model = super().start()
        if self.base is not None:
            self.base.card()
            known = load_half(self.base.build(), self.base.folder() / f"{self.base.name}.safetensors", self.base.name)
            model.load_state_dict(known.state_dict(), strict=False)  # policies are not known
        return model


def backbone(name: str, recipe: TransformerRecipe) -> ClassifierTrainer:
    """Return what trains a transformer that skips without having learned it."""
    return ClassifierTrainer(CLASSIFIERS[name], recipe, losses=dropped_patches, optimizers=adamw)


def adaptive(name: str, recipe: PatchHaltingRecipe | PolicyRecipe, base: str | None = None) -> Finetuner:
    """Return what trains a transformer that learns to skip, from the weights of ``base``."""
    losses = pondered if isinstance(recipe, PatchHaltingRecipe) else thrifty
    known = None if base is None else CLASSIFIERS[base]
    return Finetuner(CLASSIFIERS[name], recipe, losses=losses, optimizers=adamw, base=known)
