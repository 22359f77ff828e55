"""What a check of a target's contract found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kept = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True)
class ContractLine:
    """One line of the contract.

    Attributes:
        check: what was checked, in a word or two.
        verdict: ``"pass"``, ``"fail"``, or ``"skipped"`` where the target has no such thing, or it cannot be seen here.
        told: what was seen.
        advice: what to do about it; empty where nothing is to be done.

    >>> print(ContractLine("bound", "fail", "sample 3 does 5 runs of block1", "raise max_work"))
    fail bound: sample 3 does 5 runs of block1; raise max_work
    """

    check: str
    verdict: Kept
    told: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.verdict} {self.check}: {self.told}{'; ' * bool(self.advice)}{self.advice}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class ContractBroken(Exception):  # noqa: N818 - a finding, not an error of the program
    """A check found the contract broken.

    Args:
        told: what was seen.
        advice: what to do about it.
    """

    def __init__(self, told: str, advice: str) -> None:
        super().__init__(told)
        self.told, self.advice = told, advice


class ContractSkipped(Exception):  # noqa: N818 - a finding, not an error of the program
    """A check does not apply, or cannot be made here; the message says why."""
