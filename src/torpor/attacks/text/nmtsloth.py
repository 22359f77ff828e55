"""NMTSloth: a few edits of a text that delay a decoder's end token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.decoder.objectives import masked_mean, without, without_end
from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import TokenGradient, first_order, lowest, token_gradient
from torpor.attacks.text.search.search import greedy
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import (
    case_flips,
    core,
    insertions,
    replace_span,
    token_spans,
    token_substitution,
    word_spans,
)
from torpor.attacks.text.search.words import Proposer, similar_words
from torpor.core.budget import COUNTS
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

PAPER = Paper(
    "NMTSloth: Understanding and Testing Efficiency Degradation of Neural Machine Translation Systems",
    "Chen et al.",
    "ESEC/FSE",
    2022,
    "arXiv:2210.03696",
)
TOP_K = 50  # substitutes per position or word


@dataclass(frozen=True)
class LateEnd:
    """Make the end token, and the tokens chosen instead of it, less likely: the mean of ``-log(1 - q_t)``.

    ``q_t`` is the probability of the end token plus that of the token chosen at step ``t``; at the end, where the two
    are the same token, it is halved. It is computed as the probability of all other tokens, so a model that is sure of
    itself leaves a gradient. Steps after a sample's own end are not in its loss.

    Where no token is left, as with decisions between going on and the end, the chosen ones do not count.

    Attributes:
        chosen: whether the chosen tokens count, or only the end token.

    >>> from torpor.core.work import Work
    >>> work = Work(torch.tensor([[2]]))
    >>> sure = StepSignals(torch.zeros(1, 2, 4), torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool), (0,), work)
    >>> round(LateEnd()(sure).exp().item() ** 2, 3), round(LateEnd(chosen=False)(sure).exp().item(), 3)
    (2.667, 1.333)
    """

    chosen: bool = True

    def __call__(self, signals: StepSignals) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        others = without_end(signals)
        if self.chosen and others.shape[-1] > len(signals.eos) + 1:
            others = without(others, signals.ids.unsqueeze(-1))
        return masked_mean(signals.logits.logsumexp(-1) - others.logsumexp(-1), signals)


@dataclass(frozen=True, kw_only=True)
class NMTSloth(TextSearch):
    """Base: ``eps`` rounds of one edit each, candidates from the gradient, chosen by the length that is generated.

    Attributes:
        loss: ``"end-and-chosen"`` tokens as in the paper, or ``"end"`` token only, as in its predecessor TransSlowDown.
    """

    paper: ClassVar[Paper | None] = PAPER
    norms: ClassVar[tuple[str, ...]] = COUNTS[:1]
    reads: ClassVar[type | None] = StepSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "score", "cap")
    most: ClassVar[int | None] = None

    loss: Literal["end-and-chosen", "end"] = "end-and-chosen"

    @abstractmethod
    def neighbors(self, target: TextTarget) -> Callable[[str, TokenGradient], Iterator[str]]:
        """Return what proposes texts one edit away from a text, likeliest places first."""

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        objective = LateEnd(chosen=self.loss == "end-and-chosen")
        propose = self.neighbors(target)

        def move(row: int, text: str, tally: Tally) -> Iterator[str]:
            gradient = token_gradient(target, text, objective)
            tally.note(row, gradient)
            return propose(text, gradient)

        fits = Sendable(target.space, self.budget)
        return lambda row: greedy(row, inputs[row], move, fits, tally, rounds=int(self.eps), most=self.limit)

    @property
    def limit(self) -> int | None:
        """Candidates of a round at most; all if None."""
        return self.most


def importance(gradient: TokenGradient) -> list[int]:
    """Return positions by the paper's importance: the sum, sign and all, of each token's negative gradient.

    The released code ranks rows of the embedding matrix, in which the gradients of equal tokens are added up. Its order
    gave I-Loops of 107 % where this one gave 169 % (``translator-multi30k``, three characters).
    """
    return (-gradient.rows.sum(-1)).argsort(descending=True, stable=True).tolist()


@dataclass(frozen=True, kw_only=True)
class NMTSlothChar(NMTSloth):
    """Insert one printable character into the most important token, or flip the case of one of its letters.

    Tokens of a single character count only where a text has no longer ones, as with a tokenizer of bytes. In contrast
    to the published code, the token is edited where it was found to matter, not where it first occurs.
    """

    id: ClassVar[str] = "nmtsloth-char"
    norms: ClassVar[tuple[str, ...]] = ("chars",)

    norm: str = "chars"

    @override
    def neighbors(self, target: TextTarget) -> Callable[[str, TokenGradient], Iterator[str]]:
        def propose(text: str, gradient: TokenGradient) -> Iterator[str]:
            spans = token_spans(target.space.codec, text, gradient.ids.tolist())
            known = [span for place in importance(gradient) if (span := spans[place]) is not None]
            long = [span for span in known if span[1] - span[0] > 1]
            for span in (long or known)[:1]:
                yield from insertions(text, span)
                yield from case_flips(text, span)

        return propose


@dataclass(frozen=True, kw_only=True)
class NMTSlothToken(NMTSloth):
    """Replace one token by one of the 50 that lower the loss most, to first order, at that position.

    Substitutes that are special, or that the tokenizer would read otherwise in this place, are left out, the latter of
    the 50, so that fewer may be tried: the published code writes the end token's name into the text.

    Attributes:
        first: candidates of a round at most, those of the lowest first-order loss anywhere in the text, and in turns at
            each place; None for all of them, as published.
    """

    id: ClassVar[str] = "nmtsloth-token"
    norms: ClassVar[tuple[str, ...]] = ("tokens",)

    norm: str = "tokens"
    first: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first is not None and self.first < 1:
            raise UsageError(f"expected 1 candidate or more in a round, got {self.first}")

    @property
    @override
    def limit(self) -> int | None:
        return self.first

    @override
    def neighbors(self, target: TextTarget) -> Callable[[str, TokenGradient], Iterator[str]]:
        codec, matrix = target.space.codec, target.embedding_matrix()
        allowed = insertable(codec, len(matrix))

        def propose(text: str, gradient: TokenGradient) -> Iterator[str]:
            ids = gradient.ids.tolist()
            changes = first_order(gradient, matrix, allowed)
            if self.first is not None:
                substitutes = (token_substitution(codec, ids, *edit) for edit in lowest(changes))
                yield from (changed for changed in substitutes if changed is not None)
                return
            best = changes.topk(min(TOP_K, changes.shape[1]), largest=False)
            for place, (scores, tokens) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
                for score, token in zip(scores, tokens, strict=True):
                    if score < torch.inf and (changed := token_substitution(codec, ids, place, token)) is not None:
                        yield changed

        return propose


@dataclass(frozen=True, kw_only=True)
class NMTSlothStructure(NMTSloth):
    """Replace one word by another that could stand in its place.

    The paper asks BERT for 50 words of the same part of speech. Here the words are those that are single tokens of the
    target's own tokenizer, or, after :meth:`fit`, those of other texts; of the same shape (letters or not, capital or
    not), most similar first by the target's input embeddings. So replacements fit the place less well than BERT's: an
    attack on length, not on grammar. Pass ``proposer`` to plug in a masked language model.

    Attributes:
        words: to choose from; the tokenizer's own if empty.
        proposer: builds what proposes words, from the target and ``words``.
    """

    id: ClassVar[str] = "nmtsloth-structure"
    norms: ClassVar[tuple[str, ...]] = ("words",)
    most: ClassVar[int | None] = 2000

    norm: str = "words"
    words: tuple[str, ...] = field(default=(), repr=False)
    proposer: Callable[[TextTarget, tuple[str, ...]], Proposer] | None = field(default=None, repr=False)

    def fit(self, target: TextTarget, inputs: Sequence[str], *, references: object = None, seed: int = 0) -> Self:
        """Collect the words of ``inputs``; see :meth:`Attack.fit`."""
        seen = {text[slice(*core(text, span))] for text in inputs for span in word_spans(text)}
        return replace(self, words=tuple(sorted(word for word in seen if word.isalnum())))

    @override
    def neighbors(self, target: TextTarget) -> Callable[[str, TokenGradient], Iterator[str]]:
        similar = (self.proposer or similar_words)(target, self.words)

        def propose(text: str, gradient: TokenGradient) -> Iterator[str]:
            spans = token_spans(target.space.codec, text, gradient.ids.tolist())
            found = [span for place in importance(gradient) if (span := spans[place]) is not None]
            words = word_spans(text)
            owners = [word for span in found for word in words if word[0] <= span[0] < word[1]]
            for word in dict.fromkeys((*owners, *words)):
                inner = core(text, word)
                for new in similar(text, inner)[:TOP_K]:
                    yield replace_span(text, inner, new)

        return propose
