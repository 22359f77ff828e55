"""RepetitionCurse: one token again and again, so that all of them go to the same experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
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

    Where several experts lie on each device, those of a token must lie on one device in every layer, and few tokens or
    none are so lucky. All copies have read what stands before them, so that another first word sends all of them
    elsewhere in deeper layers: with ``leads``, such words are tried before copies of the costliest token, which is
    none of the paper's.

    Attributes:
        tokens: that are tried.
        leads: words that are tried before the copies of the costliest token.
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
    leads: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise UsageError(f"expected 1 token or more to try, got {self.tokens}")
        if self.leads < 0:
            raise UsageError(f"expected 0 or more words to try before the copies, got {self.leads}")

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, codec = Sendable(target.space, self.budget), target.space.codec
        words = list(whole_words(codec))
        generators = sample_generators(inputs, seed, self.id)

        def repeat(row: int) -> Search:
            order = [words[place] for place in torch.randperm(len(words), generator=generators[row]).tolist()]
            copies = _written(((word, self.repeated(fits, inputs[row], word)) for word in order), self.tokens)
            best, worth = "", -1.0
            while copies and not tally.ended(row):
                texts, copies = copies[:AT_ONCE], copies[AT_ONCE:]
                costs = (yield [text for _, text in texts]).costs
                if costs and max(costs) > worth:
                    worth, best = max(costs), texts[costs.index(max(costs))][0]
            led = ((word, self.repeated(fits, inputs[row], best, lead=word)) for word in order if word != best)
            first = _written(led, self.leads if best else 0)
            while first and not tally.ended(row):
                yield [text for _, text in first[:AT_ONCE]]
                first = first[AT_ONCE:]

        return repeat

    def repeated(self, fits: Sendable, clean: str, word: str, *, lead: str = "") -> str | None:
        """Return a text that ends in one token, as often as fits, or consists of it alone; None if none fits."""
        before = (clean if self.norm == "suffix" else "") + lead
        return as_many(fits, clean, lambda count: before + word * count, int(self.eps))


def _written(texts: Iterable[tuple[str, str | None]], most: int) -> list[tuple[str, str]]:
    """Return the first texts that there are, with the words that they are of."""
    return list(islice(((word, text) for word, text in texts if text is not None), most))


def whole_words(codec: Codec) -> Iterator[str]:
    """Yield what tokens say that begin a word, with the space before it: repeated, each stays a token of its own.

    Where a tokenizer has none, it yields all tokens that may be put into a text.
    """
    texts = [codec.decode((token,)) for token in insertable(codec).nonzero().flatten().tolist()]
    words = [text for text in texts if text[:1] == " " and text[1:].isalpha()]
    yield from words or texts
