"""The zoo's transformers in 8 bits with outlier columns: weights of others, and thresholds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.images import ImageSet
from torpor.targets.mixed_precision.target import MixedPrecisionTarget
from torpor.zoo.classifiers import CLASSIFIERS, ClassifierEntry
from torpor.zoo.entry import ZooEntry, load_half


@dataclass(frozen=True)
class MixedPrecisionEntry(ZooEntry):
    """A network whose linear layers compute in 8 bits, and columns with outliers in full precision.

    Attributes:
        base: whose weights it runs, all of its tokens.
        input_shape: ``(C, H, W)`` of one image.
        samples: of the test data that an audit takes by default.
    """

    base: ClassifierEntry
    input_shape: tuple[int, int, int]
    samples: int

    def network(self) -> nn.Module:
        """Load the network in full precision.

        Raises:
            UsageError: if the weights of the base are missing or do not fit.
        """
        self.base.card()
        return load_half(self.base.build(), self.base.folder() / f"{self.base.name}.safetensors", self.base.name)

    def open(self, thresholds: Sequence[float]) -> MixedPrecisionTarget:
        """Return the target with these thresholds, one per linear layer."""
        target = MixedPrecisionTarget(
            self.network(), thresholds, input_shape=self.input_shape, name=self.name, source=self.base.source
        )
        target.samples = self.samples
        return target

    def load(self, folder: Path | None = None) -> MixedPrecisionTarget:
        """See :meth:`ZooEntry.load`; the card holds the thresholds, the weights are those of the base."""
        thresholds = self.card(folder).get("thresholds")
        if not isinstance(thresholds, list):
            raise UsageError(f"expected thresholds in the card of {self.name}, got none; train it again")
        return self.open(thresholds)

    def data(self, folder: Path | None) -> ImageSet:
        """Return the data set."""
        return self.base.source(folder)

    @override
    def download(self) -> Path:
        return self.base.download()


MIXED_PRECISION: dict[str, MixedPrecisionEntry] = {
    entry.name: entry
    for entry in (
        MixedPrecisionEntry("int8-vit-digits", CLASSIFIERS["avit-digits"], (1, 32, 32), 16),
        MixedPrecisionEntry("int8-vit-cifar10", CLASSIFIERS["ats-cifar10"], (3, 32, 32), 4),
    )
}
