"""TTSlow: a few characters of a text that postpone the end of the speech that is made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from typing_extensions import override

from torpor.attacks.text.nmtsloth import NMTSloth, importance
from torpor.attacks.text.search.characters import LOOKALIKES
from torpor.attacks.text.search.constraints import insertable
from torpor.attacks.text.search.gradients import TokenGradient, first_order
from torpor.attacks.text.search.transformations import Span, token_spans, token_substitution
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

SUBSTITUTES = 5
"""Tokens that are tried at each place, those that lower the loss most."""


@dataclass(frozen=True, kw_only=True)
class TTSlow(NMTSloth):
    """Look-alike letters, swapped neighbors and substitutes, most important places first, on the stop's probability.

    The text side of the paper; its attack on speaker embeddings needs a target that reads one. The loss is the mean of
    ``-log(1 - p_t)``, where ``p_t`` is the probability that the speech stops at step ``t``, and the costliest candidate
    of a round, by the speech that is really made, is edited on. Substitutes by the gradient, as in NMTSloth, were added
    to the paper's two kinds of edits: a model that reads all strange letters as one gets little else from look-alikes.
    A swap counts as two characters. Works on any decoder of texts.
    """

    id: ClassVar[str] = "ttslow"
    paper: ClassVar[Paper | None] = Paper(
        "TTSlow: Slow Down Text-to-Speech with Efficiency Robustness Evaluations",
        "Gao et al.",
        "IEEE TASLP",
        2025,
        "arXiv:2407.01927",
    )
    norms: ClassVar[tuple[str, ...]] = ("chars",)

    norm: str = "chars"
    loss: Literal["end-and-chosen", "end"] = "end"

    @override
    def neighbors(self, target: TextTarget) -> Callable[[str, TokenGradient], Iterator[str]]:
        codec, matrix = target.space.codec, target.embedding_matrix()
        allowed = insertable(codec, len(matrix))

        def propose(text: str, gradient: TokenGradient) -> Iterator[str]:
            ids = gradient.ids.tolist()
            spans = token_spans(codec, text, ids)
            best = first_order(gradient, matrix, allowed).topk(min(SUBSTITUTES, len(matrix)), largest=False)
            for place in importance(gradient):
                if (span := spans[place]) is not None:
                    yield from lookalikes(text, span)
                    yield from swaps(text, span)
                for score, token in zip(best.values[place].tolist(), best.indices[place].tolist(), strict=True):
                    if score < float("inf") and (changed := token_substitution(codec, ids, place, token)) is not None:
                        yield changed

        return propose


def lookalikes(text: str, span: Span) -> Iterator[str]:
    """Put a letter of another script that looks the same in the place of each letter of a part of the text.

    >>> [hex(ord(one[offset])) for one, offset in zip(lookalikes("a cat", (2, 4)), (2, 3), strict=True)]
    ['0x441', '0x430']
    """
    for offset in range(*span):
        if (other := LOOKALIKES.get(text[offset])) is not None:
            yield text[:offset] + other + text[offset + 1 :]


def swaps(text: str, span: Span) -> Iterator[str]:
    """Swap each character of a part of the text and the one after it, which may be the first one after the part.

    >>> list(swaps("a cat", (2, 5)))
    ['a act', 'a cta']
    """
    for offset in range(span[0], min(span[1], len(text) - 1)):
        if text[offset] != text[offset + 1]:
            yield text[:offset] + text[offset + 1] + text[offset] + text[offset + 2 :]
