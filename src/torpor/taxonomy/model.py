"""What the taxonomy records about one published attack or defense."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from torpor.core.errors import UsageError
from torpor.core.threat import Access, Stage
from torpor.core.units import Behavior

NOT_IMPLEMENTED = "not implemented yet"
"""What stands in place of a torpor id where there is none."""
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_IDENTIFIER = re.compile(r"arXiv:\d{4}\.\d{4,5}|10\.\d{4,9}/\S+|https://\S+")
_TAGS = {
    "owasp": re.compile(r"LLM\d\d:20\d\d"),
    "atlas": re.compile(r"AML\.T\d{4}(\.\d{3})?"),
    "cwe": re.compile(r"CWE-\d+"),
}


class Kind(StrEnum):
    """Which side an entry is on."""

    ATTACK = "attack"
    DEFENSE = "defense"


class Role(StrEnum):
    """Why an entry is in the taxonomy."""

    EFFICIENCY = "efficiency"
    """Raises cost, or keeps it down."""
    BASELINE = "baseline"
    """An attack made for accuracy, run beside efficiency attacks to see what the cost objective adds."""
    STUDY = "study"
    """Analyzes attacks rather than proposing one."""
    RELATED = "related"
    """Counted by the field's surveys, but moves something other than cost."""
    PRACTICE = "practice"
    """Used or recommended in deployments without a paper of its own."""


@dataclass(frozen=True)
class Publication:
    """Where an entry was published; None stands for what is not known.

    Attributes:
        title: as published.
        authors: one or two authors by last name, or the first and "et al.".
        venue: where it appeared; ``"arXiv"`` for a preprint.
        year: when.
        identifier: ``"arXiv:..."``, a DOI that starts with ``10.``, or an ``https://`` address.

    Raises:
        UsageError: if the identifier has another form or the year is out of range.

    >>> Publication("A Panda?", "Hong et al.", "ICLR", 2021, "arXiv:2010.02432").url
    'https://arxiv.org/abs/2010.02432'
    """

    title: str | None = None
    authors: str | None = None
    venue: str | None = None
    year: int | None = None
    identifier: str | None = None

    def __post_init__(self) -> None:
        if self.identifier is not None and not _IDENTIFIER.fullmatch(self.identifier):
            raise UsageError(
                f"expected an identifier such as arXiv:2010.02432, 10.1145/... or https://..., got {self.identifier!r}"
            )
        if self.year is not None and not 1990 <= self.year <= 2100:
            raise UsageError(f"expected a year from 1990 to 2100, got {self.year}")

    @property
    def url(self) -> str | None:
        """Where the identifier leads; None without one."""
        if self.identifier is None or self.identifier.startswith("https://"):
            return self.identifier
        if self.identifier.startswith("arXiv:"):
            return f"https://arxiv.org/abs/{self.identifier.removeprefix('arXiv:')}"
        return f"https://doi.org/{self.identifier}"

    @property
    def where(self) -> str:
        """Venue and year, or what is known of them.

        >>> Publication(venue="ICLR", year=2021).where, Publication().where
        ('ICLR 2021', 'unknown')
        """
        return " ".join(str(part) for part in (self.venue, self.year) if part is not None) or "unknown"


@dataclass(frozen=True)
class Mechanism:
    """A way to compute less, and whether inputs can change how much is computed.

    Attributes:
        name: what the field calls it.
        constant_work: whether its work is constant by construction, the same for every input: no attack on it can cost
            FLOPs, and none is listed.
        why: what is fixed, or what varies.
        paper: the publication; None stands for what has many.
    """

    name: str
    constant_work: bool
    why: str
    paper: Publication


@dataclass(frozen=True)
class Tags:
    """Identifiers in security taxonomies; see :func:`torpor.taxonomy.load_versions` for their versions.

    Attributes:
        owasp: OWASP Top 10 for LLM applications, such as ``"LLM06:2026"``.
        atlas: MITRE ATLAS techniques, such as ``"AML.T0029"``.
        cwe: weaknesses, such as ``"CWE-400"``.

    Raises:
        UsageError: if a tag has another form, stands twice, or there is none at all.

    >>> Tags(owasp=("LLM06:2026",), cwe=("CWE-400",)).as_dict()
    {'owasp': ['LLM06:2026'], 'atlas': [], 'cwe': ['CWE-400']}
    """

    owasp: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, pattern in _TAGS.items():
            tags: tuple[str, ...] = getattr(self, name)
            for tag in tags:
                if not pattern.fullmatch(tag):
                    raise UsageError(f"expected {name} tags of the form {pattern.pattern}, got {tag!r}")
            if len(set(tags)) < len(tags):
                raise UsageError(f"expected every {name} tag once, got {', '.join(tags)}")
        if not (self.owasp or self.atlas or self.cwe):
            raise UsageError("expected at least one owasp, atlas or cwe tag, got none")

    def as_dict(self) -> dict[str, list[str]]:
        """Return the tags by taxonomy, as audits record them."""
        return {name: list(getattr(self, name)) for name in _TAGS}


@dataclass(frozen=True)
class Entry:
    """One published attack or defense.

    Attributes:
        key: unique slug.
        name: what the field calls it.
        kind: attack or defense.
        role: why it is listed.
        behaviors: what it moves or protects; empty only for related work that moves none of the three.
        mechanism: the dynamic part of the victim for an attack, how it protects for a defense.
        stages: when the attacker acts; for a defense, the attackers it answers.
        access: what the attacker sees of the target; for a defense, in its own evaluation, empty where not known.
        cost_metric: what the publication counts; None if not known.
        paper: the publication.
        tags: identifiers in security taxonomies.
        verified: False where something noted of the work elsewhere rests on memory, which ``note`` then names.
        note: what to know before citing the entry; None if nothing.
        torpor_ids: names of the attacks or defenses in torpor that implement it; empty if none does.

    Raises:
        UsageError: if the fields contradict each other.
    """

    key: str
    name: str
    kind: Kind
    role: Role
    behaviors: tuple[Behavior, ...]
    mechanism: str
    stages: tuple[Stage, ...]
    access: tuple[Access, ...]
    cost_metric: str | None
    paper: Publication
    tags: Tags
    verified: bool = True
    note: str | None = None
    torpor_ids: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise UsageError(f"expected a key of lowercase words joined by hyphens, got {self.key!r}")
        if not self.behaviors and self.role is not Role.RELATED:
            raise UsageError(f"expected a behavior for {self.key}, got none; only related work may have none")
        if not self.stages or not (self.access or self.kind is Kind.DEFENSE):
            raise UsageError(f"expected a stage and, for an attack, an access for {self.key}, got none")
        if not self.verified and not self.note:
            raise UsageError(f"expected a note for {self.key}, which is not verified, got none")

    @property
    def implemented(self) -> bool:
        """Whether torpor implements the entry."""
        return bool(self.torpor_ids)

    @property
    def status(self) -> str:
        """The torpor ids in one line, or that there is none yet."""
        return ", ".join(self.torpor_ids) or NOT_IMPLEMENTED

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as it stands in the data file, with the status spelled out."""
        return {**asdict(self), "tags": self.tags.as_dict(), "status": self.status}
