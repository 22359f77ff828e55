"""The zoo's multi-exit networks: architecture, cuts, data, and where the weights are."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.images import Digits, ImageSet
from torpor.targets.early_exit.exit_rules import Confidence, ExitRule
from torpor.targets.early_exit.sdn import ShallowDeepNetwork, build_sdn
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.entry import ZooEntry, cache_folder, load_half

DROPS = (0.05, 0.15)
DEFAULT_RULE = "drop:0.05"


@dataclass(frozen=True)
class EarlyExitEntry(ZooEntry):
    """A multi-exit network that torpor can build and train.

    Attributes:
        backbone: ``module:function`` that builds the plain classifier from its number of classes.
        cuts: submodules after which internal classifiers sit.
        input_shape: ``(C, H, W)`` of one image.
        num_classes: of the task.
        data: makes the data set from the user's ``--data-dir``.
    """

    backbone: str
    cuts: tuple[str, ...]
    input_shape: tuple[int, int, int]
    num_classes: int
    data: Callable[[Path | None], ImageSet]

    def build(self) -> ShallowDeepNetwork:
        """Build the untrained network."""
        backbone: nn.Module = pkgutil.resolve_name(self.backbone)(self.num_classes)
        return build_sdn(backbone, self.cuts, num_classes=self.num_classes, input_shape=self.input_shape)

    def load(self, folder: Path | None = None) -> EarlyExitTarget:
        """Load the trained target, with the exit rule that loses at most 5 % of accuracy on validation data.

        Args:
            folder: holds the weights and the card; the package's or the user's cache folder if None.

        Raises:
            UsageError: if the weights are missing or do not fit.
        """
        card = self.card(folder)
        module = load_half(self.build(), (folder or self.folder()) / f"{self.name}.safetensors", self.name)
        thresholds = card.get("thresholds")
        if not isinstance(thresholds, dict) or DEFAULT_RULE not in {f"drop:{drop}" for drop in thresholds}:
            raise UsageError(f"expected thresholds in the card of {self.name}, got none; train it again")
        rules = {f"drop:{drop}": Confidence(float(chosen)) for drop, chosen in thresholds.items()}
        return self.target(module, rules[DEFAULT_RULE], rules)

    def target(
        self, module: ShallowDeepNetwork, rule: ExitRule, named_rules: Mapping[str, ExitRule]
    ) -> EarlyExitTarget:
        """Return the target that runs a trained ``module``, whose batch norm it folds."""
        return EarlyExitTarget(
            ShallowDeepNetwork([fold_batch_norm(stage) for stage in module.stages], list(module.heads)),
            rule,
            input_shape=self.input_shape,
            name=self.name,
            data=self.data,
            named_rules=named_rules,
        )

    @override
    def download(self) -> Path:
        if self.data is not cifar10_in:
            return super().download()
        from torpor.zoo.download import download_cifar10

        return download_cifar10(cache_folder() / "data" / "cifar10")


def digits(folder: Path | None) -> ImageSet:
    """Return the handwritten digits, wherever the user's data are."""
    return Digits()


def cifar10_in(folder: Path | None) -> ImageSet:
    """Find CIFAR-10 in ``folder``, in its subfolder ``cifar10``, or in the user's cache folder."""
    from torpor.data.cifar10 import cifar10

    return cifar10(folder or cache_folder() / "data")


EARLY_EXITS: dict[str, EarlyExitEntry] = {
    entry.name: entry
    for entry in (
        EarlyExitEntry(
            "sdn-digits",
            "torpor.zoo.backbones:convnet",
            ("conv1", "conv2", "conv3", "conv4", "conv5"),
            (1, 32, 32),
            10,
            digits,
        ),
        EarlyExitEntry(
            "sdn-resnet56-cifar10",
            "torpor.zoo.backbones:resnet56",
            ("block4", "block8", "block12", "block16", "block20", "block24"),  # 15, 30, ... 90 % of the work
            (3, 32, 32),
            10,
            cifar10_in,
        ),
        EarlyExitEntry(
            "sdn-vgg16-cifar10",
            "torpor.zoo.backbones:vgg16",
            ("conv2", "conv4", "conv6", "conv7", "conv9", "conv10"),
            (3, 32, 32),
            10,
            cifar10_in,
        ),
    )
}
