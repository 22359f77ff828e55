"""Where an algorithm comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication.

    Attributes:
        title: as published.
        authors: first author and "et al.".
        venue: where it appeared.
        year: when.
        identifier: arXiv number, DOI or URL.

    >>> print(Paper("A Panda?", "Hong et al.", "ICLR", 2021, "arXiv:2010.02432"))
    Hong et al., "A Panda?", ICLR 2021 (arXiv:2010.02432)
    """

    title: str
    authors: str
    venue: str
    year: int
    identifier: str

    def __str__(self) -> str:
        return f'{self.authors}, "{self.title}", {self.venue} {self.year} ({self.identifier})'
