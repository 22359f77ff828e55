"""Evolutionary search over edits: the strongest single search on texts, with and without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar

from typing_extensions import override

from torpor.attacks.text.evolution.advice import advice
from torpor.attacks.text.evolution.edits import EditVariation, in_characters, in_tokens, in_words
from torpor.attacks.text.evolution.new_tokens import TokenVariation
from torpor.attacks.text.evolution.population import Population
from torpor.attacks.text.evolution.variation import Variation
from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch, shows_gradients
from torpor.attacks.text.search.random_edits import random_texts
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.words import vocabulary_words
from torpor.core.batches import sample_generators
from torpor.core.budget import COUNTS, GROWING
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True, kw_only=True)
class Evolution(TextSearch):
    """Keep the texts that are worth most, and vary them: exchange, move, add, repeat, copy and mix their edits.

    Characters, tokens and words are replaced, deleted and put in; suffixes and prompts grow token by token and
    segment by segment. A tenth of all candidates is drawn anew. The first generation is asked about in growing
    parts. Where a budget counts tokens or words, a few candidates of each generation are the substitutions in the
    fittest text that lower NMTSloth's loss most, to first order; where it lets the text grow, such substitutions
    find nothing that draws do not, and are left out. Words that are put in are single tokens of the vocabulary.
    What other searches of an ensemble found becomes a parent too. Where it is not a cap on steps that limits the
    cost, candidates that cannot cost more than the costliest one, by their static bound, are not asked about, and
    the search ends where ten times as many draws as a generation may take find none that can.

    Worth is cost where the budget lets the text grow, else the length of the output; the costliest text is sent.

    From no one paper: genetic search over edits is what "Generating Natural Language Adversarial Examples" (Alzantot
    et al., EMNLP 2018) does to classifiers.

    Of a black box it needs no more than what each text costs, or how much each makes it generate.

    Attributes:
        queries: forward and backward passes per sample at most.
        gradients: whether gradients propose candidates.
        drawn: random texts that are asked about first, and are all parents: as many of random search, the first ones of
            ``control-best-of-k``; 0 for a first generation of the evolution's own, as where a text grows by tokens.
    """

    id: ClassVar[str] = "evolution"
    paper: ClassVar[Paper | None] = None
    norms: ClassVar[tuple[str, ...]] = COUNTS

    norm: str = "chars"
    queries: int = 1000
    gradients: bool = True
    drawn: int = 0

    @classmethod
    @override
    def access_on(cls, target: Target) -> Access:
        return cls.access if shows_gradients(target) else Access.DECISION

    @override
    def follows_gradients(self, target: Target) -> bool:
        return shows_gradients(target)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise UsageError(f"expected 1 query or more, got {self.queries}")
        if self.drawn < 0:
            raise UsageError(f"expected 0 random texts or more, got drawn={self.drawn}")

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits = Sendable(target.space, self.budget)
        vary = variations(fits)
        guided = self.gradients and self.norm in GUIDED and shows_gradients(target)
        advise = advice(target, self.norm) if guided else None
        generators = sample_generators(inputs, seed, self.id)
        by_tokens = self.norm in GROWING and target.space.codec.is_tokenizer
        draw = None if self.drawn == 0 or by_tokens else random_texts(fits, inputs, seed)

        def evolve(row: int) -> Search:
            rng, clean = Random(generators[row].initial_seed()), inputs[row]  # noqa: S311 - no secret
            near = partial(advise, row, tally) if advise else None
            population = Population(vary(clean), clean, rng, near, partial(tally.can_win, row))
            drawn = [] if draw is None else population.begin(draw(row, self.drawn))
            while (left := self.queries - tally.spent(row)) > 0 and not tally.ended(row):
                if tally.best(row)[1] > population.worth:
                    population.learn(*tally.best(row))
                first = bool(drawn) or not population.elites
                if not (texts := (drawn or population.generation())[:left]):
                    return
                drawn = []
                for part in parts(texts) if first else [texts]:
                    for text, worth in zip(part, tally.worth((yield part)), strict=True):
                        population.learn(text, worth)
                    if tally.ended(row):
                        return

        return evolve


GUIDED = ("tokens", "words")
"""Budgets within which gradients propose candidates."""
FIRST = 4
"""Texts that are asked about first: where a model takes almost any text to its cap, a few such outputs show it."""


def parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the first texts, then twice as many, and so on: what comes later is not needed if one reaches the cap.

    >>> list(parts("abcdefghijklmnop"))
    ['abcd', 'efghijkl', 'mnop']
    """
    start, count = 0, FIRST
    while start < len(texts):
        yield texts[start : start + count]
        start, count = start + count, 2 * count


def variations(fits: Sendable) -> Callable[[str], Variation[Any]]:
    """Return what makes the variation of a text's candidates within a budget."""
    codec, norm = fits.space.codec, fits.budget.norm
    if norm == "chars":
        return lambda text: EditVariation(fits, text, in_characters(text))
    if norm == "words":
        words = vocabulary_words(codec)
        return lambda text: EditVariation(fits, text, in_words(text, words))
    pool = insertable(codec).nonzero().flatten().tolist()
    if norm == "tokens":
        return lambda text: EditVariation(fits, text, in_tokens(text, codec, pool))
    return lambda text: TokenVariation(fits, text, pool)
