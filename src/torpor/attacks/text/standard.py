"""The standard ensemble for texts: nothing to tune, several searches under one budget of passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.text.evolution.evolution import Evolution
from torpor.attacks.text.llmeffichecker import LLMEffiCheckerChar, LLMEffiCheckerToken
from torpor.attacks.text.loopllm import LoopLLM
from torpor.attacks.text.nmtsloth import NMTSlothChar, NMTSlothStructure, NMTSlothToken
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch, told
from torpor.attacks.text.search.random_edits import RandomEditor
from torpor.attacks.text.search.tally import Tally
from torpor.core.budget import COUNTS
from torpor.core.paper import Paper
from torpor.core.seeds import sample_generators
from torpor.core.signals import StepSignals
from torpor.targets.decoder.contract import TextTarget

QUERIES = 1000
"""Passes on a sample, forward and backward, of all members together."""
PATIENCE = 400
"""Queries without a longer output after which the evolution's turn ends."""
TRIAL = 64
"""The same for the turns of the others, which find less on most targets."""
AT_ONCE = 24
"""Random texts that are decoded at once."""


@dataclass(frozen=True, kw_only=True)
class RandomSearch(TextSearch):
    """Random edits that spend the whole budget, for as long as somebody answers: the control as a member."""

    id: ClassVar[str] = "random-edits"
    paper: ClassVar[Paper | None] = None
    norms: ClassVar[tuple[str, ...]] = COUNTS

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        editor = RandomEditor(Sendable(target.space, self.budget))
        generators = sample_generators(inputs, seed, self.id)

        def draw(row: int) -> Search:
            while True:
                yield [editor.edit(inputs[row], int(self.eps), generators[row]) for _ in range(AT_ONCE)]

        return draw


MEMBERS: dict[str, tuple[type[TextSearch], ...]] = {
    "chars": (NMTSlothChar, LLMEffiCheckerChar),
    "tokens": (NMTSlothToken, LLMEffiCheckerToken),
    "words": (NMTSlothStructure,),
    "suffix": (LoopLLM,),
    "prompt": (),
}
"""Published searches within each budget; the evolutionary one comes before them, random search after them."""


@dataclass(frozen=True, kw_only=True)
class StandardText(TextSearch):
    """Evolution, the published searches within the same budget, and random search, in turns under one budget of passes.

    The evolution's turn ends when it has not found a longer output for 400 queries, that of another member after 64, so
    that passes go to what still finds.
    Whatever one finds is a parent of the evolution's next generation.
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
        kinds: tuple[type[TextSearch], ...] = (Evolution, *MEMBERS[self.norm], RandomSearch)
        return tuple(kind(norm=self.norm, eps=self.eps) for kind in kinds)

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        members = [member.begin(target, inputs, seed, tally) for member in self.ensemble]

        def take_turns(row: int) -> Search:
            searches = deque(member(row) for member in members)
            evolution, waiting = searches[0], dict[Search, Sequence[str] | None]()
            idle = 0
            while searches and tally.best(row)[1] < tally.cap:
                search, before = searches[0], tally.best(row)[1]
                texts = waiting[search] if search in waiting else next(search, None)
                left = self.queries - tally.spent(row)
                if left <= 0:
                    return
                if texts is None:
                    searches.popleft()
                    idle = 0
                    continue
                steps = yield texts[:left]
                if left < len(texts):
                    return
                waiting[search] = told(search, steps)
                idle = 0 if tally.best(row)[1] > before else idle + len(texts)
                if idle >= (PATIENCE if search is evolution else TRIAL):
                    searches.rotate(-1)
                    idle = 0

        return take_turns
