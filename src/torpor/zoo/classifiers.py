"""The zoo's classifiers whose gates decide what is computed, one per mechanism."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from typing_extensions import override

from torpor.data.images import ImageSet
from torpor.targets.early_exit.family import GatedClassifier
from torpor.zoo.early_exits import cifar10_in, digits
from torpor.zoo.entry import ZooEntry, cache_folder, load_half


@dataclass(frozen=True)
class ClassifierEntry(ZooEntry):
    """A network that torpor can build and train, and the target that runs it.

    Attributes:
        network: ``module:function`` that builds the untrained network.
        target: ``module:class`` of the target, called with the network and its ``name`` and ``source`` of data.
        source: makes the data set from the user's ``--data-dir``.
        samples: test samples that an audit takes by default; as the target has it if None.
    """

    network: str
    target: str
    source: Callable[[Path | None], ImageSet]
    samples: int | None = None

    def build(self) -> nn.Module:
        """Build the untrained network."""
        network: nn.Module = pkgutil.resolve_name(self.network)()
        return network

    def data(self, folder: Path | None) -> ImageSet:
        """Return the data set."""
        return self.source(folder)

    def open(self, weights: Path) -> GatedClassifier:
        """Load the target from a file of weights.

        Raises:
            UsageError: if it is missing or does not fit.
        """
        network = load_half(self.build(), weights, self.name)
        target: GatedClassifier = pkgutil.resolve_name(self.target)(network, name=self.name, source=self.source)
        target.samples = self.samples or target.samples
        return target

    def load(self, folder: Path | None = None) -> GatedClassifier:
        """See :meth:`ZooEntry.load`."""
        self.card(folder)
        return self.open((folder or self.folder()) / f"{self.name}.safetensors")

    @override
    def download(self) -> Path:
        if self.source is not cifar10_in:
            return super().download()
        from torpor.zoo.download import download_cifar10

        return download_cifar10(cache_folder() / "data" / "cifar10")


_SKIPS = "torpor.zoo.networks.skipnet:skipnet_target"
_ADAPTIVE = "torpor.zoo.networks.adaptive"
_HALTS = "torpor.targets.tokens.avit:PatchHaltingTarget"
_CHOOSES = "torpor.targets.tokens.adavit:PolicyTarget"
_SAMPLES = "torpor.targets.tokens.ats:SamplingTarget"

_ENTRIES: tuple[ClassifierEntry, ...] = (
    ClassifierEntry(
        "snn-digits",
        "torpor.zoo.networks.spiking:spiking_digits",
        "torpor.targets.spiking.target:SpikingTarget",
        digits,
    ),
    ClassifierEntry("ats-cifar10", f"{_ADAPTIVE}:vit_cifar10", _SAMPLES, cifar10_in),
    ClassifierEntry("ats-digits", f"{_ADAPTIVE}:vit_digits", _SAMPLES, digits),
    ClassifierEntry("avit-cifar10", f"{_ADAPTIVE}:avit_cifar10", _HALTS, cifar10_in),
    ClassifierEntry("avit-digits", f"{_ADAPTIVE}:avit_digits", _HALTS, digits),
    ClassifierEntry("adavit-cifar10", f"{_ADAPTIVE}:adavit_cifar10", _CHOOSES, cifar10_in),
    ClassifierEntry("adavit-digits", f"{_ADAPTIVE}:adavit_digits", _CHOOSES, digits),
    ClassifierEntry(
        "odenet-digits", "torpor.zoo.networks.odenet:OdeNet", "torpor.zoo.networks.odenet:odenet_target", digits
    ),
    ClassifierEntry("skipnet-digits", "torpor.zoo.networks.skipnet:skipnet_digits", _SKIPS, digits, 32),
    ClassifierEntry("skipnet-cifar10", "torpor.zoo.networks.skipnet:skipnet_cifar10", _SKIPS, cifar10_in, 16),
    ClassifierEntry(
        "act-digits", "torpor.zoo.networks.act:act_digits", "torpor.targets.halting:HaltingDepthTarget", digits
    ),
)

CLASSIFIERS: dict[str, ClassifierEntry] = {entry.name: entry for entry in _ENTRIES}
