"""Genomes of tokens: what is appended to a text, or sent instead of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from typing_extensions import override

from torpor.attacks.text.evolution.variation import Variation
from torpor.attacks.text.search.constraints import Sendable

Tokens = tuple[int, ...]
LONGEST = 4
"""Tokens of a segment that is copied or repeated."""
FULL = 0.5
"""How often all tokens of the budget are drawn."""
FAMILIAR = 0.3
"""How often a token is one of the text or of another candidate, instead of drawn from all."""


class TokenVariation(Variation[Tokens]):
    """Up to as many new tokens as the budget allows.

    A child changes some tokens, copies or repeats a segment, puts tokens in or leaves some out, or ends as another
    candidate does.

    Args:
        fits: what may be sent.
        text: clean.
        pool: ids that may be put in.

    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> space = ToyText().space
    >>> variation = TokenVariation(Sendable(space, Budget("suffix", 2)), "a cat", space.codec.encode("9z"))
    >>> variation.spell(space.codec.encode("zz")), variation.sendable("a catzzz")
    ('a catzz', False)
    """

    def __init__(self, fits: Sendable, text: str, pool: Sequence[int]) -> None:
        self.fits, self.text, self.pool = fits, text, pool
        self.own = tuple(fits.space.codec.encode(text))
        self.base = self.own if fits.budget.norm == "suffix" else ()
        self.most = min(int(fits.budget.eps), fits.space.max_tokens - len(self.base))

    @override
    def draw(self, rng: Random) -> Tokens:
        some = min(self.most, round(2 ** rng.uniform(0, self.most.bit_length())))
        length = self.most if rng.random() < FULL else some  # reading costs, too
        if rng.random() < 0.5:
            segment = [self._token((), rng) for _ in range(rng.randint(1, LONGEST))]
            return tuple(segment * length)[:length]
        if rng.random() < 0.5:
            start = rng.randrange(len(self.own))
            return (self.own[start:] * length)[:length]
        return tuple(self._token((), rng) for _ in range(length))

    @override
    def vary(self, parent: Tokens, others: Sequence[Tokens], rng: Random) -> Tokens:
        known = [token for other in others for token in other]
        how, genome = rng.random(), list(parent)
        if not genome:
            return self.draw(rng)
        place = rng.randrange(len(genome))
        if how < 0.3:
            for _ in range(rng.choice((1, 1, 2, 3))):
                genome[rng.randrange(len(genome))] = self._token(known, rng)
        elif how < 0.45:
            genome[place:place] = [self._token(known, rng) for _ in range(rng.choice((1, 1, 2, 4)))]
        elif how < 0.55:
            del genome[place : place + rng.choice((1, 1, 2, 4))]
        elif how < 0.7 and others:
            other = rng.choice(others)
            genome[place:] = other[rng.randrange(len(other)) if other else 0 :]
        elif how < 0.85:
            segment = self._segment(parent, rng)
            genome[place : place + len(segment)] = segment
        else:
            segment = self._segment(parent, rng)
            genome[place:] = segment * self.most
        return tuple(genome[: self.most])

    def read(self, text: str) -> Tokens | None:
        """See :meth:`Variation.read`."""
        ids = tuple(self.fits.space.codec.encode(text))
        start = len(self.base)
        return ids[start:] if ids[:start] == self.base and start < len(ids) <= start + self.most else None

    @override
    def spell(self, genome: Tokens) -> str:
        return self.fits.space.codec.decode((*self.base, *genome))

    @override
    def sendable(self, text: str) -> bool:
        return self.fits(self.text, text)

    @override
    def near(self, text: str, before: str, rng: Random) -> str:
        return text

    def _segment(self, parent: Tokens, rng: Random) -> Tokens:
        whole = parent if rng.random() < 0.7 else self.own
        start = rng.randrange(len(whole))
        return whole[start : start + rng.randint(1, LONGEST)]

    def _token(self, known: Sequence[int], rng: Random) -> int:
        if rng.random() < FAMILIAR:
            return rng.choice(known if known and rng.random() < 0.5 else self.own)
        return rng.choice(self.pool)
