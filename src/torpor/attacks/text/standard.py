"""The standard ensemble for texts: nothing to tune, several searches under one budget of passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.text.evolution.evolution import Evolution
from torpor.attacks.text.llmeffichecker import LLMEffiCheckerChar, LLMEffiCheckerStructure, LLMEffiCheckerToken
from torpor.attacks.text.loopllm import LoopLLM
from torpor.attacks.text.nmtsloth import NMTSlothChar, NMTSlothStructure, NMTSlothToken
from torpor.attacks.text.search.driver import Search, TextSearch, told
from torpor.attacks.text.search.tally import Tally
from torpor.core.budget import COUNTS
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

QUERIES = 1000
"""Passes on a sample, forward and backward, of all members together."""
PATIENCE, TRIAL = 400, 64
"""Queries without a longer output after which the evolution's turn ends, and those of the others."""
PATIENCE_IN_TOKENS, TRIAL_IN_TOKENS = 150, 700
"""The same where a budget counts tokens: on translators NMTSloth's rounds, of 50 substitutes for each, find most."""

MEMBERS: dict[str, tuple[type[TextSearch], ...]] = {
    "chars": (NMTSlothChar, LLMEffiCheckerChar),
    "tokens": (NMTSlothToken, LLMEffiCheckerToken),
    "words": (NMTSlothStructure, LLMEffiCheckerStructure),
    "suffix": (LoopLLM,),
    "prompt": (),
}
"""Published searches within each budget; they have their turns where the evolutionary one finds nothing more."""


@dataclass(frozen=True, kw_only=True)
class StandardText(TextSearch):
    """Evolution, and where it finds nothing more, the published searches within the same budget of edits, in turns.

    The evolution's turn ends when it has not found a longer output for 400 queries, that of another member after 64, so
    that passes go to what still finds; where a budget counts tokens, after 150 and 700, in which the others can end a
    round. Whatever one finds is a parent of the evolution's next generation. A sample is
    at its end when every member has had a turn in which nothing was found.
    """

    id: ClassVar[str] = "standard-text"
    paper: ClassVar[Paper | None] = None
    norms: ClassVar[tuple[str, ...]] = COUNTS
    reads: ClassVar[type | None] = StepSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "score", "cap")

    norm: str = "chars"

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        return tuple(dict.fromkeys((Evolution.id, *(kind.id for kinds in MEMBERS.values() for kind in kinds))))

    @property
    def queries(self) -> int:
        """Passes on a sample at most."""
        return QUERIES

    @property
    def ensemble(self) -> tuple[TextSearch, ...]:
        """The members, in the order of their turns."""
        kinds: tuple[type[TextSearch], ...] = (Evolution, *MEMBERS[self.norm])
        return tuple(kind(norm=self.norm, eps=self.eps) for kind in kinds)

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        members = [member.begin(target, inputs, seed, tally) for member in self.ensemble]
        patience, trial = (PATIENCE_IN_TOKENS, TRIAL_IN_TOKENS) if self.norm == "tokens" else (PATIENCE, TRIAL)

        def take_turns(row: int) -> Search:
            searches = deque(member(row) for member in members)
            names = dict(zip(searches, (member.id for member in self.ensemble), strict=True))
            evolution, waiting = searches[0], dict[Search, Sequence[str] | None]()
            idle, vain = 0, 0  # queries, and members, since something longer was found
            while searches and vain < len(members) and tally.best(row)[1] < tally.cap:
                search, before = searches[0], tally.best(row)[1]
                texts = waiting[search] if search in waiting else next(search, None)
                left = self.queries - tally.spent(row)
                if left <= 0:
                    return
                if texts is None:
                    searches.popleft()
                    idle, vain = 0, vain + 1
                    continue
                tally.member[row] = names[search]
                steps = yield texts[:left]
                if left < len(texts):
                    return
                waiting[search] = told(search, steps)
                if tally.best(row)[1] > before:
                    idle, vain = 0, 0
                else:
                    idle += len(texts)
                if idle >= (patience if search is evolution else trial):
                    searches.rotate(-1)
                    idle, vain = 0, vain + 1

        return take_turns
