"""RepetitionCurse: one token again and again, so that all of them go to the same experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.wording import as_many
from torpor.core.batches import sample_generators
from torpor.core.budget import GROWING
from torpor.core.errors import UsageError
from torpor.core.text import Codec
from torpor.core.threat import Access, Paper
from torpor.targets.decoder.contract import TextTarget

AT_ONCE = 16
"""Tokens that are asked about together."""


@dataclass(frozen=True, kw_only=True)
class RepetitionCurse(TextSearch):
    """Repeat one token as often as fits, and keep the costliest of a few such tokens.

    Copies of a token look alike to every router, so that they choose the same k experts: the imbalance of devices
    comes near its theoretical maximum, ``min(k, E_d) / (k / D)`` with ``E_d`` experts on each of ``D`` devices. The
    paper takes the token whose states differ least between positions, which needs the model; here tokens are drawn, and
    what each costs is asked. With ``tokens=1`` nothing is chosen, and any one is sent.

    Attributes:
        tokens: that are tried.
    """

    id: ClassVar[str] = "repetitioncurse"
    paper: ClassVar[Paper | None] = Paper(
        "RepetitionCurse: Measuring and Understanding Router Imbalance in Mixture-of-Experts LLMs under DoS Stress",
        "Huang et al.",
        "ICML",
        2026,
        "arXiv:2512.23995",
    )
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[tuple[str, ...]] = GROWING
    needs: ClassVar[tuple[str, ...]] = ("balance", "placement")

    norm: str = "suffix"
    eps: float = 64
    tokens: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise UsageError(f"expected 1 token or more to try, got {self.tokens}")

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, codec = Sendable(target.space, self.budget), target.space.codec
        words = list(whole_words(codec))
        generators = sample_generators(inputs, seed, self.id)

        def repeat(row: int) -> Search:
            order = torch.randperm(len(words), generator=generators[row]).tolist()
            found = (self._repeated(fits, inputs[row], words[place]) for place in order)
            texts = [text for text, _ in zip(filter(None, found), range(self.tokens), strict=False)]
            while texts and not tally.ended(row):
                yield texts[:AT_ONCE]
                texts = texts[AT_ONCE:]

        return repeat

    def _repeated(self, fits: Sendable, clean: str, word: str) -> str | None:
        """Return a text that ends in one token, as often as fits, or consists of it alone."""
        before = clean if self.norm == "suffix" else ""
        return as_many(fits, clean, lambda count: before + word * count, int(self.eps))


def whole_words(codec: Codec) -> Iterator[str]:
    """Yield what tokens say that begin a word, with the space before it: repeated, each stays a token of its own.

    Where a tokenizer has none, it yields all tokens that may be put into a text.
    """
    texts = [codec.decode((token,)) for token in insertable(codec).nonzero().flatten().tolist()]
    words = [text for text in texts if text[:1] == " " and text[1:].isalpha()]
    yield from words or texts
