"""The zoo's targets by name: architecture, cuts, data, recipe, and where the weights are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from torpor.core.errors import UsageError
from torpor.data.digits import Digits
from torpor.data.images import ImageSet
from torpor.data.parquet import ParquetImages
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.exit_rules import Confidence
from torpor.targets.sdn import ShallowDeepNetwork, build_sdn
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.architectures.convnet import convnet
from torpor.zoo.architectures.resnet import resnet56
from torpor.zoo.architectures.vgg import vgg16
from torpor.zoo.recipes.training import Recipe

SHIPPED = Path(__file__).parent / "weights"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DROPS = (0.05, 0.15)
DEFAULT_RULE = "drop:0.05"


@dataclass(frozen=True)
class ZooEntry:
    """A target that torpor can build and train.

    Attributes:
        name: on the command line.
        backbone: builds the plain classifier.
        cuts: submodules after which internal classifiers sit.
        input_shape: ``(C, H, W)`` of one image.
        num_classes: of the task.
        data: makes the data set from the user's ``--data-dir``.
        recipe: how the weights were trained.
    """

    name: str
    backbone: Callable[[int], nn.Module]
    cuts: tuple[str, ...]
    input_shape: tuple[int, int, int]
    num_classes: int
    data: Callable[[Path | None], ImageSet]
    recipe: Recipe

    def build(self) -> ShallowDeepNetwork:
        """Build the untrained network."""
        return build_sdn(
            self.backbone(self.num_classes), self.cuts, num_classes=self.num_classes, input_shape=self.input_shape
        )

    @property
    def ships(self) -> bool:
        """Whether the weights come with the package."""
        return (SHIPPED / f"{self.name}.json").is_file()

    def folder(self) -> Path:
        """Return where the weights and the card are, or will be."""
        return SHIPPED if self.ships else cache_folder()

    def card(self, folder: Path | None = None) -> dict[str, object]:
        """Read the model card.

        Raises:
            UsageError: if the target is not trained yet.
        """
        path = (folder or self.folder()) / f"{self.name}.json"
        if not path.is_file():
            raise UsageError(f"expected trained weights of {self.name}, got none; run: torpor zoo train {self.name}")
        try:
            card: dict[str, object] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise UsageError(f"expected a model card in {path}, got: {error}; train {self.name} again") from error
        return card

    def load(self, folder: Path | None = None) -> EarlyExitTarget:
        """Load the trained target, with the exit rule that loses at most 5 % of accuracy on validation data.

        Args:
            folder: holds the weights and the card; the package's or the user's cache folder if None.

        Raises:
            UsageError: if the weights are missing or do not fit.
        """
        card = self.card(folder)
        module = self.build()
        path = (folder or self.folder()) / f"{self.name}.safetensors"
        try:
            weights = {name: value.to(torch.float32) for name, value in load_file(path).items()}
            module.load_state_dict(weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UsageError(
                f"expected weights of {self.name} in {path}, got a file that does not fit: {error}"
            ) from error
        thresholds = card.get("thresholds")
        if not isinstance(thresholds, dict) or DEFAULT_RULE not in {f"drop:{drop}" for drop in thresholds}:
            raise UsageError(f"expected thresholds in the card of {self.name}, got none; train it again")
        rules = {f"drop:{drop}": Confidence(float(chosen)) for drop, chosen in thresholds.items()}
        return EarlyExitTarget(
            ShallowDeepNetwork([fold_batch_norm(stage) for stage in module.stages], list(module.heads)),
            rules[DEFAULT_RULE],
            input_shape=self.input_shape,
            name=self.name,
            data=self.data,
            named_rules=rules,
        )


def cache_folder() -> Path:
    """Return the user's cache folder for trained weights (``TORPOR_CACHE``, else the XDG cache folder)."""
    own = os.environ.get("TORPOR_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor"


def _digits(folder: Path | None) -> ImageSet:
    return Digits()


def _cifar10(folder: Path | None) -> ImageSet:
    """Find CIFAR-10 in ``folder``, in its subfolder ``cifar10``, or in the user's cache folder."""
    base = folder or cache_folder() / "data"
    nested = base / "cifar10"
    return ParquetImages(nested if nested.is_dir() else base, (3, 32, 32), CIFAR10_CLASSES, "cifar10")


ZOO: dict[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        ZooEntry(
            "sdn-digits",
            convnet,
            ("conv1", "conv2", "conv3", "conv4", "conv5"),
            (1, 32, 32),
            10,
            _digits,
            Recipe(epochs=80, batch_size=64, pad=2, flip=False),
        ),
        ZooEntry(
            "sdn-resnet56-cifar10",
            resnet56,
            ("block4", "block8", "block12", "block16", "block20", "block24"),  # 15, 30, ... 90 % of the work
            (3, 32, 32),
            10,
            _cifar10,
            Recipe(epochs=60, cutout=12, sizes=(20, 26, 32)),
        ),
        ZooEntry(
            "sdn-vgg16-cifar10",
            vgg16,
            ("conv2", "conv4", "conv6", "conv7", "conv9", "conv10"),
            (3, 32, 32),
            10,
            _cifar10,
            Recipe(epochs=30, cutout=12, sizes=(20, 26, 32)),
        ),
    )
}


def sdn_digits() -> EarlyExitTarget:
    """Load the Shallow-Deep Network on handwritten digits."""
    return ZOO["sdn-digits"].load()


def sdn_resnet56_cifar10() -> EarlyExitTarget:
    """Load the Shallow-Deep ResNet-56 on CIFAR-10."""
    return ZOO["sdn-resnet56-cifar10"].load()


def sdn_vgg16_cifar10() -> EarlyExitTarget:
    """Load the Shallow-Deep VGG-16 on CIFAR-10 from the user's cache folder."""
    return ZOO["sdn-vgg16-cifar10"].load()
