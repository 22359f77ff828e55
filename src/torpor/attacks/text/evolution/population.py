"""The candidates of one sample: elites, their children, what is drawn anew, and what gradients propose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Generic

from torpor.attacks.text.evolution.variation import GenomeT, Variation

ELITES = 8
"""Candidates that have children."""
CHILDREN = 24
"""Candidates of a generation."""
ADVISED = 8
"""Of them, how many gradients propose at most: a gradient costs as much time as many candidates."""
FRESH = 0.1
"""Share of the children that are drawn anew."""
TRIES = 10
"""Children that may be rejected, times their number."""
ROUNDS = 10
"""How often as many are tried while none can win."""
RATE = 0.5
"""How fast the chance to be a parent falls from one elite to the next: by ``exp(-RATE)``."""

Advise = Callable[[str], Iterable[str]]
"""From the fittest text to texts that are worth a try, best first."""
Sieve = Callable[[Sequence[str]], Sequence[str]]
"""From some texts to those of them that can be worth more than all before."""


class Population(Generic[GenomeT]):
    """The candidates of one sample, by what each is worth: decoder steps, or cost.

    No text is proposed twice.

    Args:
        variation: how candidates are drawn and changed.
        clean: the text that they are edits of.
        rng: of all randomness.
        advise: what else proposes texts, if anything.
        sieve: leaves out what cannot win, but for the first generation, whose texts become parents; nothing by default.
    """

    def __init__(
        self,
        variation: Variation[GenomeT],
        clean: str,
        rng: Random,
        advise: Advise | None = None,
        sieve: Sieve = lambda texts: texts,
    ) -> None:
        self.variation, self.rng, self.advise, self.sieve = variation, rng, advise, sieve
        self.elites: list[tuple[float, GenomeT]] = []
        self.fittest, self.worth = clean, 0.0
        self._known, self._begun = {clean}, False
        self._advice: tuple[str, Iterator[str]] = ("", iter(()))

    def learn(self, text: str, worth: float) -> None:
        """Take a text in; among equals the newest is fittest, so that plateaus are crossed."""
        self._known.add(text)
        genome = self.variation.read(text)
        if genome:
            self.elites.insert(0, (worth, genome))
            self.elites.sort(key=lambda elite: -elite[0])
            del self.elites[ELITES:]
        if worth > self.worth:
            self.fittest, self.worth = text, worth

    def begin(self, texts: Iterable[str]) -> list[str]:
        """Begin with texts that were drawn elsewhere, in place of the first generation; return those not known."""
        self._begun = True
        return list(self._fresh(texts))

    def generation(self) -> list[str]:
        """Return texts that may be sent, were not known before and can win; none if none are drawn.

        Those of the first generation owe nothing to what other searches found: a single parent would be all there is.
        """
        advised = list(islice(self._fresh(self._advised()), ADVISED))
        children = [*(self.sieve(advised) if self._begun else advised)]
        for _ in range(ROUNDS):
            spelled = self._fresh(self.variation.spell(self._child()) for _ in range(TRIES * CHILDREN))
            while len(children) < CHILDREN and (some := list(islice(spelled, CHILDREN - len(children)))):
                children += self.sieve(some) if self._begun else some
            if children or not self._begun:
                break
        self._begun = True
        return children

    def _fresh(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            if text not in self._known:
                self._known.add(text)
                if self.variation.sendable(text):
                    yield text

    def _advised(self) -> Iterator[str]:
        if self.advise is not None and self._advice[0] != self.fittest:
            self._advice = self.fittest, iter(self.advise(self.fittest))
        before, proposed = self._advice
        return (self.variation.near(text, before, self.rng) for text in proposed)

    def _child(self) -> GenomeT:
        if not (self._begun and self.elites) or self.rng.random() < FRESH:
            return self.variation.draw(self.rng)
        place = min(int(self.rng.expovariate(RATE)), len(self.elites) - 1)
        return self.variation.vary(self.elites[place][1], [genome for _, genome in self.elites], self.rng)
