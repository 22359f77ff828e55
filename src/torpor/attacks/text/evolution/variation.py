"""What an evolutionary search needs to know of its candidates."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Generic, Protocol, TypeVar

GenomeT = TypeVar("GenomeT")


class Variation(Protocol, Generic[GenomeT]):
    """Candidates of one sample as genomes, which are drawn, changed and mixed; each is spelled as one text."""

    def draw(self, rng: Random) -> GenomeT:
        """Return a genome that owes nothing to any other."""

    def vary(self, parent: GenomeT, others: Sequence[GenomeT], rng: Random) -> GenomeT:
        """Return a child of ``parent``, perhaps with pieces of ``others``, the fittest so far."""

    def read(self, text: str) -> GenomeT | None:
        """Return the genome of a text that another search found; None if it has none."""

    def spell(self, genome: GenomeT) -> str:
        """Return the text of a genome, whether or not it may be sent."""

    def sendable(self, text: str) -> bool:
        """Tell whether a text may be sent."""

    def near(self, text: str, before: str, rng: Random) -> str:
        """Return a text that was made of ``before`` by one change, with older edits undone where it has too many."""
