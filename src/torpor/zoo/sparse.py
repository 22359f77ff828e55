"""The zoo's networks on an accelerator that skips zeros: the backbones of its multi-exit networks, weights and all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn
from typing_extensions import override

from torpor.data.images import ImageSet
from torpor.targets.zero_skipping.target import ZeroSkippingTarget
from torpor.zoo.early_exits import EARLY_EXITS, EarlyExitEntry
from torpor.zoo.entry import ZooEntry


@dataclass(frozen=True)
class SparseEntry(ZooEntry):
    """A plain network: the stages and the last head of a multi-exit one, whose weights it runs.

    Attributes:
        base: the multi-exit network.
        samples: that an audit takes by default; all if None.
    """

    base: EarlyExitEntry
    samples: int | None = None

    def data(self, folder: Path | None) -> ImageSet:
        """Return the data set."""
        return self.base.data(folder)

    def open(self) -> ZeroSkippingTarget:
        """Load the target from the weights of the base.

        Raises:
            UsageError: if they are missing or do not fit.
        """
        blocks = self.base.load().blocks
        network = nn.Sequential(*(stage for stage, _ in blocks), blocks[-1][1])
        target = ZeroSkippingTarget(network, input_shape=self.base.input_shape, name=self.name, source=self.base.data)
        target.samples = self.samples
        return target

    def load(self, folder: Path | None = None) -> ZeroSkippingTarget:
        """See :meth:`ZooEntry.load`; ``folder`` holds the card, the weights are those of the base."""
        self.card(folder)
        return self.open()

    @override
    def download(self) -> Path:
        return self.base.download()


SPARSE: dict[str, SparseEntry] = {
    entry.name: entry
    for entry in (
        SparseEntry("sparse-digits", EARLY_EXITS["sdn-digits"]),
        SparseEntry("sparse-resnet56-cifar10", EARLY_EXITS["sdn-resnet56-cifar10"], samples=4),
    )
}
