"""SlowBERT: characters edited in the words that matter most to where an encoder exits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.objectives import EXITS
from torpor.attacks.text.exits.words import spread
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.goal import ask
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import (
    Span,
    blanks,
    core,
    deletions,
    insertions,
    swaps,
    without_word,
    word_spans,
)
from torpor.core.signals import TextGateSignals
from torpor.core.threat import Access, Paper

PAPER = Paper("SlowBERT: Slow-down Attacks on Input-adaptive Multi-exit BERT", "Zhang et al.", "ACL Findings", 2023, "")
EXIT_WEIGHT = 100.0
"""What one exit later weighs against the cross-entropy of the last exit with the uniform distribution."""
EDITS = 64
"""Candidates of one word at most, a quarter of each kind."""


def lateness(signals: TextGateSignals) -> Tensor:
    """Return the paper's score, ``[B]``: the exit, and how close to uniform the last classifier is.

    >>> from torpor.core.work import Work
    >>> logits, margins = torch.zeros(1, 3, 2), torch.tensor([[-1.0, 1.0]])
    >>> round(lateness(TextGateSignals(logits, margins, Work(torch.ones(1, 1, dtype=torch.int64)))).item(), 3)
    99.307
    """
    taken = (signals.margins.detach() < 0).to(torch.int64).cumprod(1).sum(1)
    return EXIT_WEIGHT * taken + signals.exit_logits[:, -1].log_softmax(-1).mean(-1)


@dataclass(frozen=True, kw_only=True)
class SlowBERTSearch(TextSearch):
    """Base: rank words by what their deletion does, then edit one after the other: the latest exit is kept."""

    paper: ClassVar[Paper | None] = PAPER
    norms: ClassVar[tuple[str, ...]] = ("chars",)

    norm: str = "chars"

    @abstractmethod
    def scorer(self, target: Any, tally: Tally) -> Callable[[int, Sequence[str]], list[float]]:  # noqa: ANN401
        """Return what scores texts of a row, and counts what that takes."""

    @override
    def begin(self, target: Any, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, score = Sendable(target.space, self.budget), self.scorer(target, tally)

        def climb(row: int) -> Search:
            clean = text = inputs[row]
            words = word_spans(text)
            shorter = {at: without_word(text, word) for at, word in enumerate(words)}
            asked = {at: less for at, less in shorter.items() if target.space.problem(less) is None}
            best, *effects = score(row, [text, *asked.values()])
            ranked = sorted(zip(asked, effects, strict=True), key=lambda each: -each[1])
            shift = [0] * len(words)  # how far each word has moved, by edits before it
            for at, _ in ranked:
                start, stop = words[at][0] + shift[at], words[at][1] + shift[at]
                options = [new for new in edits(text, core(text, (start, stop))) if fits(clean, new)]
                if not options:
                    continue
                scores = score(row, options)
                if max(scores) > best:
                    new = options[scores.index(max(scores))]
                    moved = len(new) - len(text)
                    shift = [far + moved * (place > at) for place, far in enumerate(shift)]
                    best, text = max(scores), new
                    yield [text]

        return climb


def edits(text: str, span: Span) -> Iterator[str]:
    """Return texts in which a word has a blank, a swap, one more letter, or one less."""
    kinds = (blanks, swaps, insertions, deletions)
    return chain.from_iterable(spread(kind(text, span), EDITS // len(kinds)) for kind in kinds)


@dataclass(frozen=True, kw_only=True)
class SlowBERT(SlowBERTSearch):
    """The white-box attack: exits and the last classifier's probabilities are known."""

    id: ClassVar[str] = "slowbert"
    reads: ClassVar[type | None] = TextGateSignals
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @override
    def scorer(self, target: Any, tally: Tally) -> Callable[[int, Sequence[str]], list[float]]:
        def score(row: int, texts: Sequence[str]) -> list[float]:
            with torch.no_grad():
                found: list[float] = lateness(target.signals(tuple(texts))).tolist()
            tally.forwards[row] += len(texts)
            return found

        return score


@dataclass(frozen=True, kw_only=True)
class SlowBERTBlack(SlowBERTSearch):
    """The black-box attack: what a text costs is all that is known; the paper estimates the exit by the clock."""

    id: ClassVar[str] = "slowbert-black"
    access: ClassVar[Access] = Access.DECISION
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @override
    def scorer(self, target: Any, tally: Tally) -> Callable[[int, Sequence[str]], list[float]]:
        def score(row: int, texts: Sequence[str]) -> list[float]:
            tally.forwards[row] += len(texts)
            return ask(target, texts).costs

        return score
