"""Clean fine-tuning: train a model that may have been tampered with a little longer, on data that one trusts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.core.errors import DataError, UsageError
from torpor.core.threat import Paper
from torpor.data.sets import DataSet
from torpor.defenses.base import LEARNED, Defense
from torpor.targets.base import Target
from torpor.targets.weights import modules_in
from torpor.targets.zero_skipping.target import ZeroSkippingTarget

RATE, MOMENTUM, BATCH, CLIP = 0.01, 0.9, 64, 1.0
"""Of stochastic gradient descent; the rate falls to 0 along a cosine, and gradients are cut to a norm: those of a
network that was tampered with can be large enough to destroy it."""
LIMIT = 5000
"""Images to learn from at most."""


def can_retrain(target: Target) -> bool:
    """Tell whether a target is a classifier whose network this package can train: with exits, or one that skips zeros.

    >>> from torpor.targets.early_exit.toys import WindowTarget
    >>> can_retrain(WindowTarget([0.5], [0.1]))
    True
    """
    return target.offers("with_heads", "blocks") or target.offers("network", "layer_densities")


def class_scores(target: Any, inputs: Tensor) -> Tensor:  # noqa: ANN401 - one that can be retrained
    """Return the class scores of each exit, ``[B, K, C]``; ``K`` is 1 without exits. Differentiable."""
    if target.offers("with_heads", "blocks"):
        logits: Tensor = target.signals(inputs).exit_logits
        return logits
    scores: Tensor = target.network(inputs.to(torch.float64))
    return scores.unsqueeze(1)


def networks_of(target: Target) -> nn.ModuleList:
    """Return all networks that a target holds; its weights have names there."""
    return nn.ModuleList(modules_in(target))


def changed(target: Any, change: Callable[[Any], None]) -> Any:  # noqa: ANN401 - one that can be retrained
    """Return a copy of ``target`` whose networks ``change`` has changed in place; ``target`` stays as it is."""
    other = copy.deepcopy(target)
    change(other)
    networks_of(other).eval().requires_grad_(False)
    if other.offers("with_heads", "blocks"):
        return other
    remade = ZeroSkippingTarget(  # counts weights that are not zero
        other.network, input_shape=other.space.shape, name=other.name, source=other.source
    ).to(other.device)
    return remade.with_density(other.shares[1:])


def train_on(target: Target, data: DataSet, epochs: int, seed: int, rate: float = RATE) -> None:
    """Train the networks of ``target`` in place, by the mean cross-entropy of all exits.

    Args:
        target: see :func:`can_retrain`.
        data: whose train split is learned from.
        epochs: passes over it.
        seed: of the order of images.
        rate: of the first step.

    Raises:
        DataError: if there are no classes to learn.
    """
    known = data.load("train", LIMIT)
    inputs = target.read(known.inputs)
    if not len(known.references) or not isinstance(inputs, Tensor):
        raise DataError(f"expected images with classes to fine-tune {target.name} on, got none in {data.name}")
    with torch.no_grad():
        labels = target.labels(target.run(inputs[:1]).outputs, known.references)
    assert isinstance(labels, Tensor)
    labels = labels.to(target.device)
    weights = list(networks_of(target).requires_grad_(True).parameters())
    optimizer = torch.optim.SGD(weights, lr=rate, momentum=MOMENTUM, nesterov=True)
    rng = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=rng).split(BATCH):
            logits = class_scores(target, inputs[rows])
            loss = F.cross_entropy(logits.flatten(0, 1), labels[rows].repeat_interleave(logits.shape[1]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            schedule.step()
    networks_of(target).requires_grad_(False)


@dataclass(frozen=True)
class Retrained(Defense):
    """Base of defenses that change the weights of a target; kinds write :meth:`change`.

    The architecture, and with it the units, stay, and so does the rule by which inputs exit.

    Attributes:
        weights: what was learned, by the names in :func:`networks_of`; None before.
    """

    learns: ClassVar[bool] = True

    weights: Mapping[str, Tensor] | None = field(default=None, compare=False, repr=False, kw_only=True)

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return can_retrain(target)

    def change(self, target: Any, data: DataSet, seed: int) -> None:  # noqa: ANN401 - one that can be retrained
        """Change the networks of ``target`` in place."""
        raise NotImplementedError

    @override
    def prepared(
        self, target: Target, data: DataSet, attacks: Sequence[Attack], seed: int, learned: int = LEARNED
    ) -> Self:
        if self.weights is not None:
            return self
        self.check(target)
        other = changed(target, lambda copied: self.change(copied, data, seed))
        state = {name: value.cpu().contiguous() for name, value in networks_of(other).state_dict().items()}
        return replace(self, weights=state)

    @override
    def state(self) -> Mapping[str, Tensor]:
        return self._learned

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        if not state:
            raise DataError(f"expected weights in what {self.name} has learned, got none; fit it again")
        return replace(self, weights=dict(state))

    @property
    def _learned(self) -> Mapping[str, Tensor]:
        if self.weights is None:
            raise UsageError(f"expected learned weights, got {self.name} as it comes; call its prepared()")
        return self.weights

    @override
    def defend(self, target: Target) -> Target:
        self.check(target)
        learned = self._learned

        def load(other: Target) -> None:
            try:
                networks_of(other).load_state_dict(dict(learned))
            except RuntimeError as error:
                raise UsageError(
                    f"expected weights that {self.name} learned for {target.name}, got others; fit it to this target"
                ) from error

        defended: Target = changed(target, load)
        defended.name = f"{target.name} defended by {self.name}"
        return defended


@dataclass(frozen=True)
class CleanFineTuning(Retrained):
    """Fine-tune all weights on the train split, which the user trusts: what is not used there may be forgotten.

    Attributes:
        epochs: passes over the train split.
    """

    id: ClassVar[str] = "clean-fine-tuning"
    paper: ClassVar[Paper | None] = None
    setting: ClassVar[str | None] = "epochs"

    epochs: int = 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"expected 1 epoch or more of {self.id}, got {self.epochs}")

    @override
    def change(self, target: Any, data: DataSet, seed: int) -> None:
        train_on(target, data, self.epochs, seed)
