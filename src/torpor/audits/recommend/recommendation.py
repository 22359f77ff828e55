"""What was found: one sentence, the Pareto front, and every choice, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torpor import __version__
from torpor.audits.recommend.evidence import CapEvidence
from torpor.audits.recommend.search import CapSearch
from torpor.audits.verdict.gate import Verdict
from torpor.core.units import symbol

SCHEMA = "torpor.recommend/1"
DIGITS = 3
"""Significant digits of a quantity in words."""


@dataclass(frozen=True, eq=False)
class CapRecommendation:
    """The outcome of a search.

    Attributes:
        search: that was run.
        target: name of the target.
        utility_name: what utility is.
        passes: forward and backward passes of all attacks, per sample and together.
        settings: what was asked, as texts.
        notes: what must be known of the result.
    """

    search: CapSearch
    target: str
    utility_name: str
    passes: int
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    @property
    def effect(self) -> bool:
        """Whether the attack made any sample costlier on the target without caps."""
        free = self.search.free
        return free.attacked and bool((free.least > free.own).any())

    @property
    def verdict(self) -> Verdict:
        """Pass: there is a choice that keeps every limit, and was attacked. Fail: there is none. Else inconclusive."""
        search = self.search
        chosen = search.chosen()
        if chosen is None:
            return Verdict.INCONCLUSIVE if search.stopped and not search.free.attacked else Verdict.FAIL
        shown = self.effect or not search.task.attacked or search.is_bounded(chosen)
        return Verdict.PASS if search.certain(chosen) and shown else Verdict.INCONCLUSIVE

    @property
    def sentence(self) -> str:
        """The recommendation."""
        search = self.search
        chosen, asked = search.chosen(), " and ".join(map(str, search.task.limits))
        if chosen is None:
            near = search.nearest()
            return (
                f"No cap keeps {asked} at a loss of at most {search.task.utility_loss:.4g} {self.utility_name}: the "
                f"nearest is {self._said(near)}, {search.excess(near):.3g} times what is allowed."
            )
        free = f"{self._attacked_text(search.free)} without caps"
        if chosen is search.free:
            return f"No cap is needed: {asked} holds as it is, {self._attacked_text(chosen)}."
        without = "; so does the target as it is" if search.holds(search.free) else ""
        return f"{self._said(chosen)} ({free}), keeps {asked}{without}."

    @property
    def reason(self) -> str:
        """Why the verdict is inconclusive; empty otherwise."""
        if self.verdict is not Verdict.INCONCLUSIVE:
            return ""
        if self.search.stopped:
            return "the search was ended by a limit before its choice was attacked; allow more and repeat the command"
        return "the attack made no sample costlier, so that nothing shows what the caps hold; take a stronger one"

    def _said(self, one: CapEvidence) -> str:
        return f"{one.choice.name}: {self._worth(one)}"

    def _worth(self, one: CapEvidence) -> str:
        change = 0.0 - self.search.loss(one)
        return f"{self.utility_name} {change:+.4f}, {self._attacked_text(one)}"

    def _attacked_text(self, one: CapEvidence) -> str:
        shown = self.search.task.shown.gate
        exact = self.search.attacked(one)
        rounded = float(f"{exact:.{DIGITS}g}")
        value = rounded if shown.holds(rounded) == shown.holds(exact) else exact  # 1.998x is no 2x
        return f"attacked {shown.measure} {shown.show(value)}"

    def _bound(self, one: CapEvidence) -> float | None:
        """Return the shown quantity where all inputs cost the static bound; None if that is unknown."""
        search = self.search
        found = search.task.shown.value(np.full_like(one.least, one.bound), search.records.cost)
        return found if math.isfinite(found) else None

    def rows(self) -> list[dict[str, Any]]:
        """Return every choice: what it costs honest users, and what an attacker gets through it."""
        search = self.search
        front, playing, chosen = set(map(id, search.front())), set(map(id, search.in_play)), search.chosen()
        found = []
        for one in search.every:
            known = bool(one.costs)
            found.append(
                {
                    "caps": one.choice.name,
                    "utility": float(one.utility.mean()),
                    "utility_loss": search.loss(one),
                    "natural": search.natural(one),
                    "attacked": search.attacked(one) if known else None,
                    "attacked_at_most": search.at_most(one) if known else None,
                    "static": self._bound(one),
                    "attacked_itself": one.attacked,
                    "allowed": id(one) in playing,
                    "holds": search.holds(one) if known else None,
                    "front": id(one) in front and known,
                    "chosen": one is chosen,
                }
            )
        return found

    @property
    def _unit(self) -> str:
        gate = self.search.task.shown.gate
        return gate.unit or ("x" if gate.dimension == "ratio" else symbol(gate.currency))

    def to_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        search = self.search
        return {
            "schema": SCHEMA,
            "torpor": __version__,
            "target": self.target,
            "settings": dict(self.settings),
            "samples": len(search.records.cost),
            "utility_name": self.utility_name,
            "quantity": search.task.shown.gate.measure,
            "unit": self._unit,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "reason": self.reason,
            "notes": list(self.notes),
            "stopped": search.stopped,
            "choices": len(search.every),
            "attacked": [one.choice.name for one in search.every if one.attacked],
            "passes": self.passes,
            "runs": search.records.runs,
            "caps": self.rows(),
        }
