"""The zoo's router of texts: its small parts have weights of their own, the expensive model's are those of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torpor.data.sets import DataSet
from torpor.targets.text.exits import TextExitTarget
from torpor.targets.text.routed import RoutedTarget
from torpor.zoo.entry import ZooEntry, load_half
from torpor.zoo.text.registry import TEXT_CLASSIFIERS, TextClassifierEntry, people_in_multi30k
from torpor.zoo.text.router import Router, SmallParts

SAMPLES = 32
"""Texts that an audit takes by default."""


@dataclass(frozen=True)
class RouterEntry(ZooEntry):
    """A gate and a cheap reader before an encoder of the zoo.

    Attributes:
        of: the encoder, all of whose layers are the expensive model.
        source: makes the data set from the user's ``--data-dir``.
    """

    of: TextClassifierEntry
    source: Callable[[Path | None], DataSet]

    def data(self, folder: Path | None) -> DataSet:
        """Return the data set."""
        return self.source(folder)

    def large(self) -> TextExitTarget:
        """Load the encoder."""
        found = self.of.load()
        assert isinstance(found, TextExitTarget)
        return found

    def open(self, small: SmallParts, threshold: float) -> RoutedTarget:
        """Return the target with these small parts."""
        large = self.large()
        target = RoutedTarget(
            Router(small, large.module),
            large.codec,
            threshold,
            longest=large.longest,
            name=self.name,
            source=self.source,
        )
        target.samples = SAMPLES
        return target

    def load(self, folder: Path | None = None) -> RoutedTarget:
        """See :meth:`ZooEntry.load`; the card holds the threshold."""
        threshold = float(self.card(folder)["threshold"])
        path = (folder or self.folder()) / f"{self.name}.safetensors"
        return self.open(load_half(SmallParts(), path, self.name), threshold)


ROUTERS: dict[str, RouterEntry] = {
    entry.name: entry
    for entry in (RouterEntry("router-multi30k", TEXT_CLASSIFIERS["eetext-multi30k"], people_in_multi30k),)
}
