"""Compare the natural tail with what attacks of a finished audit reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torpor.audits.conditions import describe_row
from torpor.audits.integrity import remarks
from torpor.audits.read import SavedAudit
from torpor.core.errors import DataError, UsageError


@dataclass(frozen=True)
class RivalAttack:
    """An attack that natural inputs are compared with.

    Attributes:
        row: attack, defense and budget in words.
        n: samples that it attacked.
        cost_mean: of its attacked inputs.
        cost_max: of the costliest of them.
        natural_share: cost of the costliest natural input over that.
    """

    row: str
    n: int
    cost_mean: float
    cost_max: float
    natural_share: float | None


def rivals(audit: SavedAudit, target: str, currency: str, costliest: float) -> tuple[list[RivalAttack], list[str]]:
    """Return the attacks of an audit beside the costliest natural input, and what must be known of the audit.

    Args:
        audit: finished.
        target: name of the target that was mined.
        currency: that natural costs are in.
        costliest: natural cost.

    Raises:
        UsageError: if the audit is of another target, or priced in another currency.
        DataError: if its records cannot be read, or it attacked nothing.
    """
    if audit.target["name"] != target:
        raise UsageError(
            f"expected an audit of {target} with --against, got one of {audit.target['name']}; pass another"
        )
    if audit.currency != currency:
        raise UsageError(
            f"expected an audit in {currency} with --against, got one in {audit.currency}; pass the same --prices"
        )
    found = []
    for row in audit.summary:
        if row["kind"] == "attack":
            cost: Sequence[float] = audit.load_records(["cost"], row)["cost"].to_pylist()
            if cost:
                most = max(cost)
                share = costliest / most if most > 0 else None
                found.append(RivalAttack(describe_row(row), len(cost), sum(cost) / len(cost), most, share))
    if not found:
        raise DataError(f"expected an audit with attacks in {audit.folder}, got none; run torpor audit with some")
    return found, remarks(audit)
