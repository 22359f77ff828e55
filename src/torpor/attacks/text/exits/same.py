"""SAME: words or characters with which an encoder with exits finds no exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.search.objectives import EXITS
from torpor.attacks.text.exits.beam import beam_search
from torpor.attacks.text.exits.words import spread, substitutes, untouched, whole_words, word_gradients
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import TokenGradient
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import deletions, insertions, look_alikes, replace_span, swaps
from torpor.core.errors import UsageError
from torpor.core.signals import TextGateSignals
from torpor.core.threat import Paper
from torpor.targets.capabilities import Embedded

TOKENS, CHARACTERS = 100, 200
"""Candidates of a text at most, of words and of characters."""
BEFORE, GROWTH = 0.1, 1.2
"""Weight of exits that are closed, and by how much each exit after the one that is taken weighs more."""
AGREEMENT = 0.8
"""Share of the loss that breaks agreement between exits; the rest makes them unsure."""


@dataclass(frozen=True)
class UnsureExits:
    """Make each exit unsure, and have it contradict the one before.

    Exits before the one that is taken weigh 0.1, that one 1, and those after it 1.2 times as much each. Of each, 0.8 of
    the loss is the cross-entropy of the second likeliest class where the exit agrees with the one before, else of its
    own prediction; 0.2 of it is the cross-entropy of the uniform distribution.

    >>> from torpor.core.work import Work
    >>> work = Work(torch.ones(1, 1, dtype=torch.int64))
    >>> unsure = TextGateSignals(torch.zeros(1, 2, 2), torch.tensor([[-1.0]]), work)
    >>> round(UnsureExits()(unsure).item() / 0.693, 2)  # of an exit before, and of the last one
    1.1
    """

    def __call__(self, signals: TextGateSignals) -> Tensor:
        """Return the loss of each text, ``[B]``."""
        logits = signals.exit_logits
        log_p = logits.log_softmax(-1)
        best = logits.detach().topk(2, -1).indices
        own, second = best[..., 0], best[..., 1]
        agrees = F.pad(own[:, 1:] == own[:, :-1], (1, 0))
        patience = -log_p.gather(-1, torch.where(agrees, second, own)[..., None]).squeeze(-1)
        taken = (signals.margins.detach() < 0).to(torch.int64).cumprod(1).sum(1, keepdim=True)
        ahead = torch.arange(logits.shape[1], device=logits.device) - taken
        weights = torch.where(ahead < 0, BEFORE, GROWTH ** ahead.clamp_min(0).to(logits.dtype))
        return (weights * (AGREEMENT * patience - (1 - AGREEMENT) * log_p.mean(-1))).sum(1)


@dataclass(frozen=True, kw_only=True)
class SAME(TextSearch):
    """Replace words, or edit characters, by a beam search on the exit that is taken; the gradient proposes.

    Within a budget of words, each of up to ten rounds replaces one word of each text of the beam by a word of the
    tokenizer, the 100 best to first order; the paper allows three words, or a tenth of a longer text. Within a budget
    of characters, letters are swapped, inserted, deleted or exchanged for others that look alike, in the words with the
    largest gradients first, 200 candidates of each text. Stop words, and words that were edited, are left alone. In
    contrast to the published code, the costliest text of all rounds is returned, not the last one.

    Attributes:
        beam: texts from which a round starts.
        rounds: edits at most, within the budget.
    """

    id: ClassVar[str] = "same"
    paper: ClassVar[Paper | None] = Paper(
        "Dynamic Transformers Provide a False Sense of Efficiency",
        "Chen et al.",
        "ACL",
        2023,
        "arXiv:2305.12228",
    )
    norms: ClassVar[tuple[str, ...]] = ("words", "chars")
    reads: ClassVar[type | None] = TextGateSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", EXITS)

    norm: str = "words"
    beam: int = 5
    rounds: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.beam, self.rounds) < 1:
            raise UsageError(f"expected a beam and rounds of 1 or more, got {self.beam} and {self.rounds}")

    @override
    def begin(self, target: Embedded, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits = Sendable(target.space, self.budget)
        propose = self._words(target) if self.norm == "words" else self._characters(target)

        def search(row: int) -> Search:
            return beam_search(
                row, inputs[row], UnsureExits(), propose, fits, tally, beam=self.beam, rounds=self.rounds
            )

        return search

    def _words(self, target: Embedded) -> Callable[[str, str, TokenGradient], Iterator[str]]:
        codec, matrix = target.space.codec, target.embedding_matrix().detach()
        known = whole_words(codec)

        def propose(clean: str, text: str, gradient: TokenGradient) -> Iterator[str]:
            open_ = untouched(word_gradients(codec, text, gradient, matrix), clean, text)
            for word, new in substitutes(open_, known, matrix, TOKENS):
                yield replace_span(text, word.span, new)

        return propose

    def _characters(self, target: Embedded) -> Callable[[str, str, TokenGradient], Iterator[str]]:
        codec, matrix = target.space.codec, target.embedding_matrix().detach()

        def edits(clean: str, text: str, gradient: TokenGradient) -> Iterator[str]:
            open_ = untouched(word_gradients(codec, text, gradient, matrix), clean, text)
            for word in sorted(open_, key=lambda word: -word.row.norm().item()):
                for kind in (look_alikes, deletions, swaps, insertions):
                    yield from spread(kind(text, word.span), CHARACTERS // 4)

        return lambda clean, text, gradient: islice(edits(clean, text, gradient), CHARACTERS)
