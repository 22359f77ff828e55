"""LLMEffiChecker's black-box attacks: a few edits of a text, chosen by nothing but the length of what comes back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.goal import ask
from torpor.attacks.text.search.search import greedy
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import (
    case_flips,
    core,
    insertions,
    replace_span,
    token_substitution,
    without_word,
    word_spans,
)
from torpor.attacks.text.search.words import shape, vocabulary_words
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper
from torpor.targets.decoder.contract import TextTarget

PAPER = Paper(
    "LLMEffiChecker: Understanding and Testing Efficiency Degradation of Large Language Models",
    "Feng et al.",
    "ACM TOSEM",
    2024,
    "10.1145/3664812",
)
SUBSTITUTES = 50  # random tokens per position


@dataclass(frozen=True, kw_only=True)
class LLMEffiChecker(TextSearch):
    """Base: ``eps`` rounds of one edit each; the attacker sees how many tokens are generated, and nothing else.

    Attributes:
        queries: texts that are asked about at most, the clean one among them. The paper has no limit; what a text takes
            grows with its length, and this one is above what sentences take.
    """

    paper: ClassVar[Paper | None] = PAPER
    access: ClassVar[Access] = Access.DECISION
    usual_queries: ClassVar[int] = 2500

    queries: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise UsageError(f"expected 1 query or more, got {self.queries}")

    @abstractmethod
    def neighbors(
        self, target: TextTarget, generators: list[torch.Generator]
    ) -> Callable[[int, str, Tally], Iterable[str]]:
        """Return what proposes texts one edit away; see :data:`torpor.attacks.text.search.Move`."""

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        move = self.neighbors(target, sample_generators(inputs, seed, self.id))
        fits = Sendable(target.space, self.budget)
        rounds, most = int(self.eps), self.queries
        return lambda row: greedy(row, inputs[row], move, fits, tally, rounds=rounds, queries=most)


@dataclass(frozen=True, kw_only=True)
class LLMEffiCheckerChar(LLMEffiChecker):
    """Delete each word in turn; in the one whose absence changes the length most, insert a character or flip a case.

    The published code writes texts by replacing the first occurrence of a word; here, each word is deleted, and edited,
    where it stands.
    """

    id: ClassVar[str] = "llmeffichecker-char"
    norms: ClassVar[tuple[str, ...]] = ("chars",)

    norm: str = "chars"

    @override
    def neighbors(
        self, target: TextTarget, generators: list[torch.Generator]
    ) -> Callable[[int, str, Tally], Iterable[str]]:
        def propose(row: int, text: str, tally: Tally) -> Iterator[str]:
            words = word_spans(text)
            shorter = {word: without_word(text, word) for word in words}
            left = max(0, self.queries - tally.spent(row) - 1)
            known = [(word, less) for word, less in shorter.items() if target.space.problem(less) is None]
            asked = dict(known[:left])
            here, *steps = ask(target, [text, *asked.values()]).steps if asked else [0]
            tally.forwards[row] += len(asked) + bool(asked)
            effects = {word: abs(count - here) for word, count in zip(asked, steps, strict=True)}
            span = core(text, max(words, key=lambda word: effects.get(word, -1)))
            yield from insertions(text, span)
            yield from case_flips(text, span)

        return propose


@dataclass(frozen=True, kw_only=True)
class LLMEffiCheckerToken(LLMEffiChecker):
    """Replace one token by one of 50 random ones, at every position.

    Each position of each round has draws of its own. Twice as many are drawn: those that the tokenizer would read
    otherwise in this place are left out.
    """

    id: ClassVar[str] = "llmeffichecker-token"
    norms: ClassVar[tuple[str, ...]] = ("tokens",)

    norm: str = "tokens"

    @override
    def neighbors(
        self, target: TextTarget, generators: list[torch.Generator]
    ) -> Callable[[int, str, Tally], Iterable[str]]:
        codec = target.space.codec
        allowed = insertable(codec).nonzero().flatten()

        def propose(row: int, text: str, tally: Tally) -> Iterator[str]:
            ids = codec.encode(text)
            for place in range(len(ids)):
                drawn = allowed[torch.randperm(len(allowed), generator=generators[row])[: 2 * SUBSTITUTES]]
                texts = (token_substitution(codec, ids, place, token) for token in drawn.tolist())
                yield from [text for text in texts if text is not None][:SUBSTITUTES]

        return propose


@dataclass(frozen=True, kw_only=True)
class LLMEffiCheckerStructure(LLMEffiChecker):
    """Replace one word by one of 50 others of its shape, at every word.

    The paper asks BERT for words that fit the place. Here they are drawn, anew in each round, from those that are
    single tokens of the target's tokenizer, or from the text itself where there are none; a shape is whether there are
    letters only, and a capital first. :class:`~torpor.attacks.text.nmtsloth.NMTSlothStructure` ranks words by the
    target's embeddings, which an attacker who sees only lengths does not know.
    """

    id: ClassVar[str] = "llmeffichecker-structure"
    norms: ClassVar[tuple[str, ...]] = ("words",)

    norm: str = "words"

    @override
    def neighbors(
        self, target: TextTarget, generators: list[torch.Generator]
    ) -> Callable[[int, str, Tally], Iterable[str]]:
        given = vocabulary_words(target.space.codec)

        def propose(row: int, text: str, tally: Tally) -> Iterator[str]:
            spans = [core(text, span) for span in word_spans(text)]
            known = given or tuple(dict.fromkeys(text[slice(*span)] for span in spans))
            for span in spans:
                word = text[slice(*span)]
                alike = [other for other in known if other != word and shape(other) == shape(word)]
                order = torch.randperm(len(alike), generator=generators[row])[:SUBSTITUTES]
                yield from (replace_span(text, span, alike[place]) for place in order.tolist())

        return propose
