"""Bounds that an attack has refuted: a finished audit that must not be taken for a proof."""

from __future__ import annotations

from torpor.audits.read import SavedAudit
from torpor.core.errors import UsageError

EXCEEDED = "bound-exceeded"
"""Flag of a row with an input that costs more than a bound allows."""


class BoundExceeded(UsageError):  # noqa: N818 - names what happened, as LimitReached does
    """Some input of a finished audit costs more than a bound of it says, so that the bound is wrong.

    Attributes:
        audit: that found it; its records hold both figures, and nothing in it counts as certified.
    """

    def __init__(self, message: str, audit: SavedAudit) -> None:
        super().__init__(message)
        self.audit = audit


def refuse_refuted(audit: SavedAudit) -> None:
    """Refuse a finished audit whose attacks cost more than one of its bounds allows.

    Raises:
        BoundExceeded: if so.

    >>> from pathlib import Path
    >>> row = {"attack": "pgd", "flags": [EXCEEDED], "certified_reason": "the bound guess is wrong"}
    >>> refuse_refuted(SavedAudit(Path("run"), {}, {"name": "toy"}, {}, None, [row]))
    Traceback (most recent call last):
    torpor.audits.contradiction.BoundExceeded: expected bounds that no input of toy exceeds, got one: the bound guess \
is wrong; mend it, or leave it out of --bounds. What the attacks found is right, and lies in run
    """
    for row in audit.summary:
        if EXCEEDED in row["flags"]:
            raise BoundExceeded(
                f"expected bounds that no input of {audit.target['name']} exceeds, got one: {row['certified_reason']}; "
                f"mend it, or leave it out of --bounds. What the attacks found is right, and lies in {audit.folder}",
                audit,
            )
