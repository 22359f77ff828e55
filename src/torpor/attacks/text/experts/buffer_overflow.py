"""Buffer overflow in mixtures of experts: a text that fills the buffers which others of its batch need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from torpor.attacks.text.experts.repetitioncurse import RepetitionCurse, whole_words
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.random_edits import below
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.wording import as_many
from torpor.core.batches import sample_generators
from torpor.core.budget import GROWING
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper, Stage
from torpor.targets.decoder.contract import TextTarget

AT_ONCE = 16
"""Candidates of a round."""
REPEATED = 0.9
"""Share of the queries that go to copies of one word."""


@dataclass(frozen=True, kw_only=True)
class BufferOverflow(TextSearch):
    """Random search for a text in whose company most tokens of the other texts find their expert full.

    The abstract tells of an adversary who adds queries to a batch, and of experts whose buffers the whole batch shares,
    and leaves the search open. Here most candidates repeat a drawn word, as RepetitionCurse does, since a buffer is
    filled by tokens that go to the same experts. The others change the best text so far: another first word, which all
    later ones have read, or a stretch of it filled with one word. What the neighbors lose is asked of the target each
    time.

    Attributes:
        queries: texts that are tried for each sample.
    """

    id: ClassVar[str] = "moe-buffer-overflow"
    paper: ClassVar[Paper | None] = Paper(
        "Buffer Overflow in Mixture of Experts", "Hayes et al.", "arXiv", 2024, "arXiv:2402.05526"
    )
    stage: ClassVar[Stage] = Stage.SYSTEM
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[tuple[str, ...]] = GROWING
    needs: ClassVar[tuple[str, ...]] = ("hit", "neighbors")

    norm: str = "prompt"
    eps: float = 64
    queries: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise UsageError(f"expected 1 query or more, got {self.queries}")

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, words = Sendable(target.space, self.budget), list(whole_words(target.space.codec))
        generators = sample_generators(inputs, seed, RepetitionCurse.id)  # the words that it repeats

        def overflow(row: int) -> Search:
            clean, rng = inputs[row], generators[row]
            before = clean if self.norm == "suffix" else ""
            longest = as_many(fits, clean, lambda count: before + words[0] * count, int(self.eps))
            if longest is None:
                return
            count = (len(longest) - len(before)) // len(words[0])
            order = torch.randperm(len(words), generator=rng).tolist()
            best, worth, left = [words[order[0]]] * count, -1.0, self.queries
            copies = order[: max(1, round(REPEATED * left))]
            while left > 0 and not tally.ended(row):
                drawn, copies = [[words[place]] * count for place in copies[:AT_ONCE]], copies[AT_ONCE:]
                drawn = drawn or [edited(best, words, rng) for _ in range(AT_ONCE)]
                tried = {before + "".join(one): one for one in drawn}
                texts = [text for text in tried if fits(clean, text)][:left]
                left -= max(1, len(texts))
                if not texts:
                    continue
                costs = (yield texts).costs
                if max(costs) >= worth:
                    worth = max(costs)
                    best = tried[texts[costs.index(worth)]]

        return overflow


def edited(text: Sequence[str], words: Sequence[str], rng: torch.Generator) -> list[str]:
    """Return the words of a text with another first word, or with a stretch of them replaced by one word.

    >>> edited([" a"], [" b"], torch.Generator())
    [' b']
    """
    if below(2, rng):
        return [words[below(len(words), rng)], *text[1:]]
    length = 1 + below(len(text), rng)
    start = below(len(text) - length + 1, rng)
    return [*text[:start], *[words[below(len(words), rng)]] * length, *text[start + length :]]
