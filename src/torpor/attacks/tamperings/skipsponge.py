"""SkipSponge: biases of a trained network are raised, one after the other, while it still answers as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import labeled, own_copy
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class SkipSponge(Tampering):
    """Raise each channel's bias by parts of its standard deviation, and keep what adds work at no loss of accuracy.

    Nothing is trained. Its control changes biases by as much with random signs, under the same rule of accuracy.

    Attributes:
        drop: accuracy on the images that may be lost.
        step: of a bias, in standard deviations of what its channel computes.
        steps: of each bias at most.
        most: images to look at; the paper needs 1 % of the data.
    """

    id: ClassVar[str] = "skipsponge"
    paper: ClassVar[Paper | None] = Paper(
        "The SkipSponge Attack: Sponge Weight Poisoning of Deep Neural Networks",
        "te Lintelo et al.",
        "ITU J-FET",
        2025,
        "arXiv:2402.06357",
    )
    stage: ClassVar[Stage] = Stage.WEIGHTS
    needs: ClassVar[tuple[str, ...]] = ("network", "density", "energy_ratio")
    for_targets: ClassVar[str] = "a network on an accelerator that skips zeros"
    triggered: ClassVar[bool] = False

    drop: float = 0.02
    step: float = 0.2
    steps: int = 5
    most: int = 200

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        images, labels = labeled(tampered, train, self.most)
        layers = [part for part in tampered.network.modules() if isinstance(part, nn.Conv2d | nn.Linear)][:-1]
        layers = [layer for layer in layers if layer.bias is not None]
        signs = torch.Generator().manual_seed(seed)

        def measured() -> tuple[float, float]:
            outcome = tampered.run(images)
            cost = tampered.prices.cost(outcome.work).mean().item()
            return tampered.utility(outcome.outputs, labels).mean().item(), cost

        with torch.no_grad():
            first, cost = measured()
            least = first - self.drop
            for layer in layers:
                with _channels(layer) as found:
                    measured()
                bias = layer.bias.data
                for channel, width in enumerate(found[0].tolist()):
                    for _ in range(self.steps):
                        sign = 1.0
                        if self.control:
                            sign = 2.0 * int(torch.randint(2, (), generator=signs)) - 1
                        before = bias[channel].item()
                        bias[channel] += sign * self.step * width
                        accuracy, now = measured()
                        if accuracy < least or (now <= cost and not self.control):
                            bias[channel] = before
                            break
                        cost = now
        return tampered


@contextmanager
def _channels(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the standard deviation of each channel that a layer returns, ``[C]``, of each pass."""
    found: list[Tensor] = []
    hook = layer.register_forward_hook(
        lambda part, read, values: found.append(values.transpose(0, 1).flatten(1).std(1))
    )
    try:
        yield found
    finally:
        hook.remove()
