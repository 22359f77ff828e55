"""What mining found, ready for tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torpor
from torpor.audits.mining.clusters import InputCluster
from torpor.audits.mining.left_out import LeftOut
from torpor.audits.mining.ranking import ExpensiveInput, NaturalTail
from torpor.audits.mining.rivals import RivalAttack
from torpor.audits.mining.surrogate import SurrogateRecall

SCHEMA = "torpor.mine/1"
LONGEST = 200
"""Characters of a text that are kept of it."""


@dataclass(frozen=True)
class MinedInputs:
    """The expensive inputs of a log or a folder.

    Attributes:
        source: what was mined.
        target: that ran the inputs; None where recorded tokens were ranked.
        n: inputs, each as often as it occurs.
        distinct: inputs, each once.
        ran: how many of these were run, or had recorded tokens.
        currency: that costs are in.
        units: names of the units.
        prices: of one run of each.
        usual: counts of each unit of a typical input.
        tail: how cost is distributed.
        top: the costliest, costliest first.
        clusters: of these.
        left_out: what was left out.
        sample: how many inputs were drawn at random, from which the tail is estimated; None if all were run.
        recall: of the surrogate; None if all were run, or nothing can be told.
        attacks: that the tail is compared with.
        said: more that readers must know.
    """

    source: str
    target: str | None
    n: int
    distinct: int
    ran: int
    currency: str
    units: tuple[str, ...]
    prices: tuple[float, ...]
    usual: tuple[int, ...]
    tail: NaturalTail
    top: tuple[ExpensiveInput, ...]
    clusters: tuple[InputCluster, ...]
    left_out: tuple[LeftOut, ...] = ()
    sample: int | None = None
    recall: SurrogateRecall | None = None
    attacks: tuple[RivalAttack, ...] = ()
    said: tuple[str, ...] = ()

    def without_text(self) -> MinedInputs:
        """Return the same without anything of the inputs' content."""
        return replace(
            self,
            top=tuple(replace(each, text=None) for each in self.top),
            left_out=tuple(LeftOut(each.said) for each in self.left_out),
        )

    @property
    def notes(self) -> list[str]:
        """Sentences on what was left out, and what else must be known."""
        return [*(each.sentence() for each in self.left_out), *self.said]

    def to_json(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        found = {"schema": SCHEMA, "torpor": torpor.__version__, **asdict(self)}
        for each in found["top"]:
            del each["row"]
        if self.recall is not None:
            found["recall"]["recall"] = self.recall.recall
        del found["left_out"], found["said"]
        return found | {"notes": self.notes}


def cut_short(text: str | None, most: int = LONGEST) -> str | None:
    """Return the beginning of a text.

    >>> cut_short("abcdef", 5), cut_short("abc", 5)
    ('ab...', 'abc')
    """
    return text if text is None or len(text) <= most else f"{text[: most - 3]}..."
