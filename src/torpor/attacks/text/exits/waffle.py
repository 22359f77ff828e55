"""WAFFLE: synonyms that bring every exit of an encoder close to the uniform distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.objectives import EXITS
from torpor.attacks.text.exits.words import STOP_WORDS, neighbors
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import token_gradient
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import core, replace_span, token_spans, without_word, word_spans
from torpor.core.errors import UsageError
from torpor.core.signals import TextGateSignals
from torpor.core.threat import Paper

PAPER = Paper(
    "BERT Lost Patience Won't Be Robust to Adversarial Slowdown",
    "Coalson et al.",
    "NeurIPS",
    2023,
    "arXiv:2310.19152",
)
NEIGHBORS = {"textfooler": 50, "a2t": 20}


def slowness(logits: Tensor, scale: str = "mended") -> Tensor:
    """Return the paper's score ``S`` of logits ``[B, K, C]``, ``[B]``: 1 where every exit is uniform.

    The paper divides the L1 distance from the uniform distribution by ``C - 1``. That is the largest distance of two
    classes alone: with three, a sure exit scores 1/3, with five 0.6, so that success above a fixed score means
    something else for each task. Mended, it is divided by the largest distance of ``C`` classes, ``2 (C - 1) / C``, and
    runs from 0, where every exit is sure, to 1.

    >>> sure = torch.tensor([[[99.0, 0.0, 0.0]]])
    >>> round(slowness(sure, "paper").item(), 3), round(slowness(sure).item(), 3), slowness(0 * sure).item()
    (0.333, 0.0, 1.0)
    """
    classes = logits.shape[-1]
    far = (logits.softmax(-1) - 1 / classes).abs().sum(-1).mean(1)
    return 1 - far / (classes - 1 if scale == "paper" else 2 * (classes - 1) / classes)


@dataclass(frozen=True, kw_only=True)
class WAFFLE(TextSearch):
    """Replace words one after the other, the most important first, each by the neighbor that raises the score most.

    As in TextFooler, a word matters by what its deletion does to the score, and has 50 neighbors; as in A2T, by its
    gradient, and it has 20. Both papers take neighbors by counter-fitted word vectors, and ask a sentence encoder
    whether the meaning is kept; here neighbors are those of the target's own embeddings, and the budget of words is all
    that keeps the text near. A text is done once its score is above ``alpha``.

    Attributes:
        alpha: score of a success, from 0 to 1.
        scale: of the score, ``"mended"`` or as in the ``"paper"``; see :func:`slowness`.
        recipe: of the search.
        queries: texts whose score is asked for at most.
    """

    id: ClassVar[str] = "waffle"
    paper: ClassVar[Paper | None] = PAPER
    norms: ClassVar[tuple[str, ...]] = ("words",)
    reads: ClassVar[type | None] = TextGateSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", EXITS)

    norm: str = "words"
    alpha: float = 0.5
    scale: Literal["mended", "paper"] = "mended"
    recipe: Literal["textfooler", "a2t"] = "textfooler"
    queries: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1 or self.queries < 1:
            raise UsageError(f"expected alpha in (0, 1] and 1 query or more, got {self.alpha:g} and {self.queries}")

    @override
    def begin(self, target: Any, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits = Sendable(target.space, self.budget)
        near = neighbors(target, NEIGHBORS[self.recipe])

        def score(row: int, texts: Sequence[str]) -> list[float]:
            with torch.no_grad():
                found: list[float] = slowness(target.signals(tuple(texts)).exit_logits, self.scale).tolist()
            tally.forwards[row] += len(texts)
            return found

        def climb(row: int) -> Search:
            clean = text = inputs[row]
            best = score(row, [text])[0]
            for place in self._importance(target, row, text, best, score, tally):
                if best > self.alpha:
                    return
                span = core(text, word_spans(text)[place])
                options = [
                    new for word in near(text[slice(*span)]) if fits(clean, new := replace_span(text, span, word))
                ]
                options = options[: self.queries - tally.forwards[row]]
                if not options:
                    continue
                scores = score(row, options)
                if max(scores) > best:
                    best, text = max(scores), options[scores.index(max(scores))]
                    yield [text]

        return climb

    def _importance(
        self,
        target: Any,  # noqa: ANN401
        row: int,
        text: str,
        here: float,
        score: Callable[[int, Sequence[str]], list[float]],
        tally: Tally,
    ) -> list[int]:
        """Return the places of words, those that matter most first, stop words left out."""
        words = word_spans(text)
        places = [at for at, word in enumerate(words) if text[slice(*core(text, word))].lower() not in STOP_WORDS]
        if self.recipe == "a2t":
            gradient = token_gradient(target, text, lambda signals: -slowness(signals.exit_logits, self.scale))
            tally.note(row, gradient)
            spans, size = token_spans(target.space.codec, text, gradient.ids.tolist()), gradient.rows.norm(dim=-1)
            effects = {
                at: sum(
                    size[number].item()
                    for number, span in enumerate(spans)
                    if span is not None and words[at][0] <= span[0] < words[at][1]
                )
                for at in places
            }
        else:
            shorter = {at: without_word(text, words[at]) for at in places}
            asked = {at: less for at, less in shorter.items() if target.space.problem(less) is None}
            scores = score(row, list(asked.values())) if asked else []
            effects = {at: abs(value - here) for at, value in zip(asked, scores, strict=True)}
        return sorted(places, key=lambda at: -effects.get(at, 0.0))
