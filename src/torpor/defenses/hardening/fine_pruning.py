"""Fine-pruning: take out channels that clean inputs leave idle, then fine-tune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import DataError, UsageError
from torpor.core.threat import Paper
from torpor.data.sets import Batch, DataSet
from torpor.defenses.hardening.retrained import Retrained, changed, class_scores, train_on
from torpor.targets.base import Target

PAPER = Paper(
    "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
    "Liu et al.",
    "RAID",
    2018,
    "arXiv:1805.12185",
)
SHARES = tuple(number / 10 for number in range(1, 10))
"""Of the channels that pruning is tried with."""
JUDGED = 500
"""Images of the validation split that pruning is judged on at most."""


@dataclass(frozen=True)
class FinePruning(Retrained):
    """Zero the channels of the last convolution that clean images move least, then fine-tune.

    The paper's order and criterion: as many channels as the accuracy on validation data allows, by their mean
    activation. A network with exits has a last convolution in each of its stages, since each has a head after it.

    Attributes:
        points: percent points of accuracy that pruning may cost before fine-tuning gives some of it back.
        epochs: of the fine-tuning.
    """

    id: ClassVar[str] = "fine-pruning"
    paper: ClassVar[Paper | None] = PAPER
    setting: ClassVar[str | None] = "points"

    points: int = 4
    epochs: int = 10

    def __post_init__(self) -> None:
        if self.points < 0 or self.epochs < 1:
            raise UsageError(
                f"expected 0 points or more and 1 epoch or more of {self.id}, got {self.points} and {self.epochs}"
            )

    @override
    def change(self, target: Any, data: DataSet, seed: int) -> None:
        known = data.load("validation", JUDGED)
        if not len(known.references):
            raise DataError(f"expected images with classes to prune {target.name} by, got none in {data.name}")
        least = accuracy(target, known) - self.points / 100
        order = idle_first(target, target.read(known.inputs))
        share = 0.0
        for more in SHARES:
            if accuracy(changed(target, pruning(order, more)), known) < least:
                break
            share = more
        pruning(order, share)(target)
        train_on(target, data, self.epochs, seed)


def accuracy(target: Target, known: Batch) -> float:
    """Return the mean utility of a run on ``known``."""
    with torch.no_grad():
        outputs = target.run(target.read(known.inputs)).outputs
    return float(target.utility(outputs, known.references).mean())


def last_convolutions(target: Any) -> list[nn.Conv2d]:  # noqa: ANN401 - one that can be retrained
    """Return the last convolution of each stage, or of the network; none of stages without.

    >>> from torpor.targets.early_exit.toys import WindowTarget
    >>> last_convolutions(WindowTarget([0.5], [0.1]))
    []
    """
    exits = target.offers("with_heads", "blocks")
    parts = [stage for stage, _ in target.blocks] if exits else [target.network]
    found = [[layer for layer in part.modules() if isinstance(layer, nn.Conv2d)] for part in parts]
    return [layers[-1] for layers in found if layers]


@torch.no_grad()
def idle_first(target: Any, inputs: Tensor) -> list[Tensor]:  # noqa: ANN401 - one that can be retrained
    """Return the channels of each last convolution, those first that ``inputs`` move least.

    Raises:
        UsageError: if the target has no convolution.
    """
    layers = last_convolutions(target)
    if not layers:
        raise UsageError(f"expected convolutions to prune in {target.name}, got none; take clean-fine-tuning")
    seen: dict[int, Tensor] = {}

    def look(at: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            seen[at] = output.relu().mean((0, 2, 3))

        return keep

    hooks = [layer.register_forward_hook(look(at)) for at, layer in enumerate(layers)]
    try:
        class_scores(target, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[at].argsort() for at in range(len(layers))]


def pruning(order: list[Tensor], share: float) -> Callable[[Any], None]:
    """Return what zeroes a share of the channels of each last convolution, the first of ``order``."""

    @torch.no_grad()
    def prune(target: Any) -> None:  # noqa: ANN401 - one that can be retrained
        for layer, channels in zip(last_convolutions(target), order, strict=True):
            idle = channels[: int(share * len(channels))]
            layer.weight[idle] = 0
            if layer.bias is not None:
                layer.bias[idle] = 0

    return prune
