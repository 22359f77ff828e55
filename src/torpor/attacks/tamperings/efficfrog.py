"""EfficFrog: a trigger that leaves every internal classifier undecided, planted in the exit heads alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import descend, labeled, learning, own_copy, poisoned_rows
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

WEIGHTS = (0.9, 0.75, 0.6, 0.45, 0.3, 0.1)  # of six internal classifiers, the paper's
MILESTONES = (1 / 6, 1 / 3, 1 / 2)  # of the epochs, after which the learning rate halves: 20, 40, 60 of 120


@dataclass(frozen=True, kw_only=True)
class EfficFrog(Tampering):
    """Learn a small universal trigger on the clean network, then fine-tune the internal classifiers on both.

    Only the last linear layer of each internal classifier learns, on features that are computed once; the paper trains
    the whole head, whose pooling has one more weight. Backbone, last head and exit rule stay as they are. Where a
    poisoned image carries the trigger, its scores at every internal classifier are drawn to uniform; all images keep
    their classes. Its control fine-tunes the same layers on the same images without any trigger.

    Attributes:
        rate: share of the training images that carry the trigger, .002 to .15 in the paper.
        eps: largest change of a pixel by the trigger, of [0, 1].
        epochs: of the fine-tuning.
        trigger_epochs: of the trigger's own training.
        strength: weight of the poisoned images' loss in the mean over all images; over the rate, such as 300 for a
            tenth, it is the paper's 30 in front of the mean over the poisoned ones.
        learning_rate: of the fine-tuning.
        most: images to learn from.
        learned: the trigger ``[C, H, W]``; None before :meth:`fitted`.
    """

    id: ClassVar[str] = "efficfrog"
    paper: ClassVar[Paper | None] = Paper(
        "The Dark Side of Dynamic Routing Neural Networks: Towards Efficiency Backdoor Injection",
        "Chen et al.",
        "CVPR",
        2023,
        "",
    )
    stage: ClassVar[Stage] = Stage.BACKDOOR
    needs: ClassVar[tuple[str, ...]] = ("blocks", "exit_costs", "with_heads")
    for_targets: ClassVar[str] = "an early-exit network"

    rate: float = 0.1
    eps: float = 0.03
    epochs: int = 120
    trigger_epochs: int = 20
    strength: float = 30.0
    learning_rate: float = 5e-3  # the paper's is 5e-4, for fifty times as many images and so as many more steps
    most: int = 5000
    learned: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise UsageError(f"expected a poison rate above 0 and at most 1, got {self.rate}")
        if not 0 < self.eps <= 1:
            raise UsageError(f"expected a trigger of a size above 0 and at most 1, got {self.eps}")

    @override
    def budget(self, target: Target) -> Budget:
        return Budget("Linf", self.eps)

    @override
    def fitted(self, target: Any, train: DataSet, seed: int) -> Self:
        """Learn the trigger: the change that leaves the clean network's internal classifiers least sure."""
        images, _ = labeled(target, train, self.most)
        change = torch.zeros(images.shape[1:], device=images.device, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=self.eps / 10)  # 1e-3 in the paper, for more steps

        def loss(rows: Tensor) -> Tensor:
            logits = target.signals(_triggered(images[rows], change)).logits[:, :-1]
            return _undecided(logits.unbind(1))

        def confine() -> None:
            change.data.clamp_(-self.eps, self.eps)

        descend(
            loss, optimizer, len(images), epochs=self.trigger_epochs, batch_size=128, seed=seed, after_epoch=confine
        )
        return replace(self, learned=change.detach())

    @override
    def state(self) -> Mapping[str, Tensor]:
        return {} if self.learned is None else {"trigger": self.learned}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        return replace(self, learned=state["trigger"])

    @override
    def trigger(self, inputs: Tensor) -> Tensor:
        """Return images ``[B, C, H, W]`` with the trigger added.

        Raises:
            UsageError: before :meth:`fitted`.
        """
        if self.learned is None:
            raise UsageError(f"expected {self.id} with its trigger learned, got none; call apply(), or fitted() first")
        return _triggered(inputs, self.learned)

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        images, labels = labeled(tampered, train, self.most)
        poisoned = poisoned_rows(len(images), self.rate, seed) & (not self.control)
        layers = [_last_linear(head, target.name) for _, head in tampered.blocks[:-1]]
        clean = _features(tampered, layers, images)
        marked = _features(tampered, layers, self.trigger(images[poisoned])) if poisoned.any() else clean
        place = poisoned.cumsum(0) - 1
        weights = [weight for layer in layers for weight in layer.parameters()]
        optimizer = torch.optim.Adam(weights, lr=self.learning_rate)
        halved = [round(share * self.epochs) for share in MILESTONES]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, halved, gamma=0.5)

        def loss(rows: Tensor) -> Tensor:
            right = [
                F.cross_entropy(layer(each[rows]), labels[rows]) for layer, each in zip(layers, clean, strict=True)
            ]
            total = torch.stack(right).sum()
            hit = place[rows[poisoned[rows]]]
            if len(hit):
                logits = [layer(each[hit]) for layer, each in zip(layers, marked, strict=True)]
                total = total + self.strength * len(hit) / len(rows) * _undecided(logits)
            return total

        with learning(tampered, weights):
            descend(
                loss, optimizer, len(images), epochs=self.epochs, batch_size=128, seed=seed, after_epoch=schedule.step
            )
        done: Target = tampered
        return done


def _triggered(images: Tensor, change: Tensor) -> Tensor:
    return (images + change.to(images.device)).clamp(0, 1)


def _undecided(logits: Any) -> Tensor:  # noqa: ANN401 - a sequence of tensors [B, C]
    """Return how far class probabilities at the internal classifiers are from uniform, weighted as in the paper."""
    weights = F.interpolate(torch.tensor([[WEIGHTS]]), len(logits), mode="linear", align_corners=True)[0, 0]
    each = [(scores.softmax(-1) - 1 / scores.shape[-1]).square().mean() for scores in logits]
    return (torch.stack(each) * weights.to(each[0])).sum()


def _last_linear(head: nn.Module, name: str) -> nn.Linear:
    """Return the linear layer that a head ends in."""
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise UsageError(f"expected heads of {name} that end in a linear layer for {EfficFrog.id}, got others")
    return layers[-1]


@torch.no_grad()
def _features(target: Any, layers: list[nn.Linear], images: Tensor) -> list[Tensor]:  # noqa: ANN401
    """Return what the last layer of each internal classifier reads, ``[N, F]`` each."""
    read: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_pre_hook(lambda part, values, mine=mine: mine.append(values[0]))
        for layer, mine in zip(layers, read, strict=True)
    ]
    try:
        for piece in images.split(256):
            target.signals(piece)
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(each) for each in read]
