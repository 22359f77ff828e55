"""What the suite found of one limit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Standing(StrEnum):
    """How a limit stands."""

    HOLDS = "holds"
    OVERSHOOTS = "overshoots"
    BYPASSED = "bypassed"
    FAILS = "fails"
    """The server breaks instead of refusing, or its answers cannot be read."""
    NOT_OFFERED = "not offered"
    UNOBSERVABLE = "not observable"

    @property
    def is_broken(self) -> bool:
        """Whether the limit does not do what it says."""
        return self in (Standing.OVERSHOOTS, Standing.BYPASSED, Standing.FAILS)


@dataclass(frozen=True)
class Finding:
    """One limit, measured.

    Attributes:
        limit: its name, as the API has it.
        standing: how it stands.
        told: what was seen, in one sentence without a period.
        factor: what passed, as a multiple of the limit; None where nothing was counted.

    >>> print(Finding("max_tokens", Standing.OVERSHOOTS, "200 tokens at least, 8 were asked for", 25.0))
    max_tokens overshoots by 25x: 200 tokens at least, 8 were asked for
    """

    limit: str
    standing: Standing
    told: str
    factor: float | None = None

    def __str__(self) -> str:
        by = f" by {self.factor:.4g}x" if self.standing is Standing.OVERSHOOTS and self.factor is not None else ""
        return f"{self.limit} {self.standing.value}{by}: {self.told}"

    def to_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {"limit": self.limit, "standing": self.standing.value, "told": self.told, "factor": self.factor}
