"""The standard ensemble for texts: nothing to tune, several searches under one budget of passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.text.evolution.evolution import Evolution
from torpor.attacks.text.exits.no_skim import NoSkim
from torpor.attacks.text.exits.same import SAME
from torpor.attacks.text.experts.buffer_overflow import BufferOverflow
from torpor.attacks.text.experts.repetitioncurse import RepetitionCurse
from torpor.attacks.text.llmeffichecker import LLMEffiCheckerChar, LLMEffiCheckerStructure, LLMEffiCheckerToken
from torpor.attacks.text.long_requests import LongRequests
from torpor.attacks.text.loopllm import LoopLLM
from torpor.attacks.text.nmtsloth import NMTSlothChar, NMTSlothStructure, NMTSlothToken
from torpor.attacks.text.repetition import SEGMENTS, RepeatedRequests
from torpor.attacks.text.routing.rerouting import Rerouting
from torpor.attacks.text.search.driver import Search, TextSearch, shows_gradients, told
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.ttslow import TTSlow
from torpor.core.budget import COUNTS
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target
from torpor.targets.decoder.contract import TextTarget

QUERIES = 1000
"""Passes on a sample, forward and backward, of all members together."""
TRIAL = 64
"""Queries without a costlier text after which a member's turn ends, unless it is told apart below."""
ROUND = 50
"""Where a budget counts tokens, candidates of each of NMTSloth's rounds, all of which are its turn: another start, from
the best single edits, where the evolution found nothing better together."""
PATIENCE = {"chars": 800, "tokens": QUERIES, "words": QUERIES, "suffix": 600, "prompt": 600}
"""The same of the evolution, within each budget: it goes on to find after hundreds of queries in vain, and more than
the others do instead."""

SHARE = 10
"""Natural requests are a tenth of all queries at most."""

MEMBERS: dict[str, tuple[type[TextSearch], ...]] = {
    "chars": (Evolution, SAME, NoSkim, TTSlow, NMTSlothChar, LLMEffiCheckerChar),
    "tokens": (Evolution, NMTSlothToken, LLMEffiCheckerToken),
    "words": (Evolution, SAME, NoSkim, NMTSlothStructure, LLMEffiCheckerStructure),
    "suffix": (Rerouting, BufferOverflow, RepetitionCurse, LongRequests, RepeatedRequests, Evolution, LoopLLM),
    "prompt": (BufferOverflow, RepetitionCurse, LongRequests, RepeatedRequests, Evolution),
}
"""Searches within each budget, in the order of their first turns."""


def attacks_among(members: Mapping[str, Sequence[type[TextSearch]]]) -> tuple[str, ...]:
    """Return the ids of the members within any budget, controls left out.

    >>> attacks_among({"suffix": (LongRequests, Evolution), "prompt": (Evolution, LoopLLM)})
    ('evolution', 'loopllm')
    """
    kinds = dict.fromkeys(kind for each in members.values() for kind in each)
    return tuple(kind.id for kind in kinds if not kind.is_control)


@dataclass(frozen=True, kw_only=True)
class StandardText(TextSearch):
    """Several searches within the same budget of edits, in turns: evolution, and the published ones.

    The evolution has the first turn. Where the budget lets the attacker write, natural requests and repetitions come
    before it, requests to repeat only where repetitions cost more than requests: a model that was trained on texts goes
    on from sentences as from no random tokens. Where gates decide the work, Rerouting comes before it, and SAME or
    No-Skim after it, until its rounds are over; where experts do, RepetitionCurse comes before it, with half of the
    passes for tokens and a quarter for words before them; where others share the experts' buffers, buffer overflow has
    the passes, nine tenths of which are draws. The evolution's turn ends when it has found no costlier text for 600 to
    1,000 queries, by the budget, that of another member after 64, so that passes go to what still finds; NMTSloth's on
    tokens ends when its rounds are over, each of the 50 substitutions that its gradient ranks first. Whatever one finds
    is a parent of the evolution's next generation. Turns go round until all passes are spent: what was sought in vain
    for a while is often found later. Within tokens and words, the members behind the evolution have a turn only of more
    passes than those 1,000, or where it ends by itself. Of a black box, the members without gradients take part.

    Attributes:
        queries: passes on a sample, forward and backward, of all members together.
    """

    id: ClassVar[str] = "standard-text"
    paper: ClassVar[Paper | None] = None
    norms: ClassVar[tuple[str, ...]] = COUNTS

    norm: str = "chars"
    queries: int = QUERIES

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise UsageError(f"expected 1 query or more, got {self.queries}")

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        return attacks_among(MEMBERS)

    @classmethod
    @override
    def access_on(cls, target: Target) -> Access:
        return cls.access if shows_gradients(target) else Access.DECISION

    @override
    def follows_gradients(self, target: Target) -> bool:
        return shows_gradients(target)

    @property
    def ensemble(self) -> tuple[TextSearch, ...]:
        """The members, in the order of their turns; of a black box, those without gradients take part."""
        members = (kind(norm=self.norm, eps=self.eps) for kind in MEMBERS[self.norm])
        return tuple(map(self._with_its_share, members))

    def _with_its_share(self, member: TextSearch) -> TextSearch:
        """Return a member with as much of the passes as it needs for its turn."""
        if isinstance(member, RepetitionCurse):
            return replace(member, tokens=max(1, self.queries // 2), leads=self.queries // 4)
        if isinstance(member, Evolution | BufferOverflow):
            return replace(member, queries=self.queries)
        if isinstance(member, LongRequests):
            return replace(member, count=min(member.count, max(1, self.queries // SHARE)))
        return replace(member, first=ROUND) if isinstance(member, NMTSlothToken) else member

    @property
    def patience(self) -> Mapping[str, int]:
        """Queries without a costlier text after which the turn of some members ends, by id; others have 64."""
        to_the_end = (SAME.id, NoSkim.id, Rerouting.id, BufferOverflow.id, RepetitionCurse.id, LongRequests.id)
        return {
            Evolution.id: PATIENCE[self.norm],
            NMTSlothToken.id: int(self.eps) * ROUND,
            RepeatedRequests.id: SEGMENTS,
            **dict.fromkeys(to_the_end, self.queries),
        }

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        ensemble = [member for member in self.ensemble if member.applies_to(target)]
        members, patience = [member.begin(target, inputs, seed, tally) for member in ensemble], self.patience

        def take_turns(row: int) -> Search:
            searches = deque(member(row) for member in members)
            names = dict(zip(searches, (member.id for member in ensemble), strict=True))
            waiting = dict[Search, Sequence[str] | None]()
            idle = 0  # queries of this turn since something costlier was found
            while searches and not tally.ended(row):
                search, before = searches[0], tally.best(row)[1]
                texts = waiting[search] if search in waiting else next(search, None)
                left = self.queries - tally.spent(row)
                if left <= 0:
                    return
                if texts is None:
                    searches.popleft()
                    idle = 0
                    continue
                tally.member[row] = names[search]
                answers = yield texts[:left]
                if left < len(texts):
                    return
                waiting[search] = told(search, answers)
                idle = 0 if tally.best(row)[1] > before else idle + len(texts)
                if idle >= patience.get(names[search], TRIAL):
                    searches.rotate(-1)
                    idle = 0

        return take_turns
