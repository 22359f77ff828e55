"""No-Skim: words or characters with which an encoder that skims keeps its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.text.exits.beam import beam_search
from torpor.attacks.text.exits.words import neighbors, spread, substitutes, untouched, whole_words, word_gradients
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import TokenGradient
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import deletions, insertions, look_alikes, replace_span, swaps
from torpor.core.errors import UsageError
from torpor.core.signals import TextGateSignals
from torpor.core.threat import Paper
from torpor.targets.capabilities import Embedded

KINDS = (insertions, deletions, swaps, look_alikes)
EACH = 50
"""Candidates of one word at most."""


def kept(signals: TextGateSignals) -> Tensor:
    """Return the negative of the cost that a target expects, ``[B]``: what the attack minimizes."""
    if signals.expected is None:
        raise UsageError("expected a target that tells what it expects to keep, got none; attack one that skims")
    return -signals.expected


@dataclass(frozen=True, kw_only=True)
class NoSkim(TextSearch):
    """Edit the words whose gradients are largest, one per round, by what makes the target compute most.

    Within a budget of characters, a word has letters inserted, deleted, swapped or exchanged for others that look
    alike; within one of words, it is replaced by one of the tokenizer's: the nearest to it, and those that lower the
    loss most, to first order. The loss is the cost that the target expects of the tokens that it keeps by degrees.

    Attributes:
        words: that are edited in each round.
    """

    id: ClassVar[str] = "no-skim"
    paper: ClassVar[Paper | None] = Paper(
        "No-Skim: Towards Efficiency Robustness Evaluation on Skimming-based Language Models",
        "Zhang et al.",
        "arXiv",
        2023,
        "arXiv:2312.09494",
    )
    norms: ClassVar[tuple[str, ...]] = ("chars", "words")
    reads: ClassVar[type | None] = TextGateSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "tokens_run")

    norm: str = "chars"
    words: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words < 1:
            raise UsageError(f"expected 1 word or more in a round, got {self.words}")

    @override
    def begin(self, target: Embedded, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits = Sendable(target.space, self.budget)
        codec, matrix = target.space.codec, target.embedding_matrix().detach()
        known, near = whole_words(codec), neighbors(target, EACH)

        def propose(clean: str, text: str, gradient: TokenGradient) -> Iterator[str]:
            open_ = untouched(word_gradients(codec, text, gradient, matrix), clean, text)
            ranked = sorted(open_, key=lambda word: -word.row.norm().item())[: self.words]
            for word in ranked:
                if self.norm == "chars":
                    yield from chain.from_iterable(spread(kind(text, word.span), EACH // len(KINDS)) for kind in KINDS)
                    continue
                best = (new for _, new in substitutes([word], known, matrix, EACH))
                for new in (*near(text[slice(*word.span)]), *best):
                    yield replace_span(text, word.span, new)

        def search(row: int) -> Search:
            return beam_search(row, inputs[row], kept, propose, fits, tally, beam=1, rounds=int(self.eps))

        return search
