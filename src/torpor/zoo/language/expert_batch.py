"""The zoo's mixture of experts with other users' texts in the batch; weights are those of the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.experts.batch import ExpertBatchTarget
from torpor.zoo.entry import ZooEntry
from torpor.zoo.language.experts import EXPERTS, ExpertEntry

SAMPLES = 8
"""Inputs that an audit takes by default: each query reads the neighbors too."""


@dataclass(frozen=True)
class ExpertBatchEntry(ZooEntry):
    """A mixture of experts of the zoo whose batches share the buffers of experts.

    Attributes:
        base: whose weights it runs.
        capacity: tokens that an expert takes, in per cent of an even share.
        others: texts of other users in each batch.
    """

    base: ExpertEntry
    capacity: int
    others: int

    def open(self, neighbors: Sequence[str]) -> ExpertBatchTarget:
        """Return the target with these texts of others."""
        alone = self.base.load()
        target = ExpertBatchTarget(
            alone.module,
            alone.codec,
            replace(alone.placement, capacity=self.capacity),
            neighbors,
            longest=alone.longest,
            name=self.name,
            source=alone.source,
        )
        target.samples = SAMPLES
        return target

    def load(self, folder: Path | None = None) -> ExpertBatchTarget:
        """See :meth:`ZooEntry.load`; the card holds the neighbors, the weights are those of the base."""
        neighbors = self.card(folder).get("neighbors")
        if not isinstance(neighbors, list):
            raise UsageError(f"expected neighbors in the card of {self.name}, got none; train it again")
        return self.open(neighbors)

    def data(self, folder: Path | None) -> DataSet:
        """Return the data set."""
        return self.base.load().data(folder)


EXPERT_BATCHES: dict[str, ExpertBatchEntry] = {
    entry.name: entry
    for entry in (ExpertBatchEntry("moe-batch-multi30k", EXPERTS["moe-multi30k"], capacity=125, others=3),)
}
