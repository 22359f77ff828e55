"""The standard ensemble for texts without gradients: nothing to tune, several searches under one budget of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.text.evolution.evolution import Evolution
from torpor.attacks.text.llmeffichecker import LLMEffiCheckerChar, LLMEffiCheckerStructure, LLMEffiCheckerToken
from torpor.attacks.text.long_requests import LongRequests
from torpor.attacks.text.repetition import SEGMENTS, RepeatedRequests
from torpor.attacks.text.search.driver import TextSearch
from torpor.attacks.text.standard import StandardText, attacks_among
from torpor.core.budget import GROWING
from torpor.core.threat import Access

TURN = 72
"""Queries without a costlier text after which the turn of a member that never ends by itself is over: three generations
of the evolution."""

DRAWN, DRAWN_GROWING = 1 / 2, 2 / 3
"""Share of the queries that are random texts, where a budget counts edits, and where it lets the text grow by
characters, as the tokenizer is not known: there, a search that begins with few of them is below random search."""

MEMBERS: dict[str, tuple[type[TextSearch], ...]] = {
    "chars": (Evolution, LLMEffiCheckerChar),
    "tokens": (Evolution, LLMEffiCheckerToken),
    "words": (Evolution, LLMEffiCheckerStructure),
    "suffix": (LongRequests, RepeatedRequests, Evolution),
    "prompt": (LongRequests, RepeatedRequests, Evolution),
}
"""Members within each budget, in the order of their turns."""


@dataclass(frozen=True, kw_only=True)
class StandardQueries(StandardText):
    """Natural requests, repetitions and evolution, or evolution and LLMEffiChecker, within so many queries.

    What a query costs is all that is asked of a target, so this is ``standard`` for models that nobody can look into,
    such as those behind an endpoint. Where the budget lets the attacker write, natural requests and repetitions are
    tried first, requests to repeat only where repetitions cost more than requests, and the best of them is the first
    parent of the evolution; unless the tokenizer is known, two thirds of the queries are the first draws of random
    search (``control-best-of-k``). Where it counts edits, half of them are, all of them parents of the evolution, and
    LLMEffiChecker has a turn when that has found nothing in three generations.

    Attributes:
        queries: texts that the target is asked about, for each sample, the clean one among them.
    """

    id: ClassVar[str] = "standard-queries"
    access: ClassVar[Access] = Access.DECISION
    sends_its_own: ClassVar[bool] = True
    reads: ClassVar[type | None] = None
    needs: ClassVar[tuple[str, ...]] = ()

    queries: int = 200

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        return attacks_among(MEMBERS)

    @property
    @override
    def ensemble(self) -> tuple[TextSearch, ...]:
        members = (kind(norm=self.norm, eps=self.eps) for kind in MEMBERS[self.norm])
        return tuple(map(self._settled, members))

    def _settled(self, member: TextSearch) -> TextSearch:
        """Return a member without gradients, and with its share of the queries."""
        member = self._with_its_share(member)
        if isinstance(member, Evolution):
            share = DRAWN_GROWING if self.norm in GROWING else DRAWN
            return replace(member, gradients=False, drawn=int(share * self.queries))
        return member

    @property
    @override
    def patience(self) -> Mapping[str, int]:
        if self.norm not in GROWING:
            return {kind.id: TURN for kind in MEMBERS[self.norm]}
        return {LongRequests.id: self.queries, RepeatedRequests.id: SEGMENTS, Evolution.id: TURN}
