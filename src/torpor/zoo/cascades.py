"""The zoo's cascades."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from typing_extensions import override

from torpor.targets.cascade import CascadeTarget, chained
from torpor.targets.early_exit.exit_rules import ExitRule
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.backbones import convnet
from torpor.zoo.early_exits import EarlyExitEntry, digits


@dataclass(frozen=True)
class CascadeEntry(EarlyExitEntry):
    """A cascade that torpor can build and train; its ``backbone`` builds the classifiers, and nothing is cut."""

    @override
    def build(self) -> ShallowDeepNetwork:
        return chained(pkgutil.resolve_name(self.backbone)(self.num_classes))

    @override
    def target(self, module: ShallowDeepNetwork, rule: ExitRule, named_rules: Mapping[str, ExitRule]) -> CascadeTarget:
        return CascadeTarget(
            [fold_batch_norm(head) for head in module.heads],
            rule,
            input_shape=self.input_shape,
            name=self.name,
            data=self.data,
            named_rules=named_rules,
        )


def tiny_small_large(num_classes: int = 10) -> list[nn.Module]:
    """Build three convolutional networks for gray images; each costs about ten times what the one before does.

    >>> [sum(p.numel() for p in model.parameters()) for model in tiny_small_large()]
    [438, 6800, 72666]
    """
    tiny, large = [(4, 2), (8, 2)], [(16, 2), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1)]
    return [_convolutions(tiny, num_classes), convnet(num_classes), _convolutions(large, num_classes)]


def _convolutions(layout: Sequence[tuple[int, int]], num_classes: int) -> nn.Sequential:
    """Build 3 x 3 convolutions of these channels and strides, and a linear classifier of their means."""
    layers: list[nn.Module] = []
    channels_in = 1
    for channels, stride in layout:
        layers += [nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        channels_in = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_classes))


CASCADES: dict[str, CascadeEntry] = {
    entry.name: entry
    for entry in (CascadeEntry("cascade-digits", "torpor.zoo.cascades:tiny_small_large", (), (1, 32, 32), 10, digits),)
}
