"""EOGen: prompts of a few plain words, evolved by how much comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.words import vocabulary_words
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.text import Codec
from torpor.core.threat import Access, Paper
from torpor.targets.decoder.contract import TextTarget

SHORTEST, LONGEST = 3, 7
"""Words of a prompt."""
ELITES = 2
TRIES = 50
"""Words or texts that may be rejected before a child is given up."""
COMMON = (
    "again", "all", "another", "because", "book", "city", "count", "day", "each", "end", "every", "explain", "first",
    "forever", "good", "house", "how", "idea", "language", "life", "list", "long", "many", "more", "name", "never",
    "new", "next", "number", "people", "place", "question", "repeat", "say", "song", "state", "story", "tell", "time",
    "tree", "water", "way", "what", "why", "word", "world", "write",
)  # fmt: skip
"""Words for tokenizers that have none, or are not known."""

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EOGen(TextSearch):
    """Evolve prompts of 3 to 7 English words: 20 of them, 500 generations, a word in 20 redrawn in each child.

    The fitness is ``steps - alpha * tokens of the prompt``; of all prompts that were asked, the costliest is sent. The
    paper's further penalty, for outputs that end by
    themselves, is the same for all that are compared here, since the search ends at the cap. What differs from the
    paper, or is not known of it:

    - How parents are chosen: here the fitter of two, and each word of a child is from either of two parents. The two
      fittest survive.
    - A twentieth of the children also gains or loses a word.
    - Words are those that are single tokens of the target's tokenizer, in ASCII letters; common ones if it has none.
    - The paper's second method, a learned policy (RL-GOAL), is not implemented, nor is decoding beyond the model's
      context: the cap is the target's own.

    Attributes:
        population: prompts in a generation.
        generations: at most.
        mutation: how likely each word of a child is redrawn.
        alpha: steps that each token of the prompt is worth; the paper's value is not known.
    """

    id: ClassVar[str] = "eogen"
    paper: ClassVar[Paper | None] = Paper(
        "Prompt-Induced Over-Generation as Denial-of-Service: A Black-Box Attack-Side Benchmark",
        "Manu et al.",
        "arXiv",
        2025,
        "arXiv:2512.23779",
    )
    access: ClassVar[Access] = Access.DECISION
    sends_its_own: ClassVar[bool] = True
    norms: ClassVar[tuple[str, ...]] = ("prompt",)

    norm: str = "prompt"
    eps: float = 32
    population: int = 20
    generations: int = 500
    mutation: float = 0.05
    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population < 4 or self.generations < 1 or not 0 < self.mutation <= 1 or self.alpha < 0:
            raise UsageError(
                "expected a population of 4 or more, 1 generation or more, a mutation above 0 and of 1 at most, and "
                f"alpha of 0 or more, got {self.population}, {self.generations}, {self.mutation:g} and {self.alpha:g}"
            )

    @property
    def queries(self) -> int:
        """Texts that are asked about at most, the clean one among them."""
        return 1 + self.population * self.generations

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, codec = Sendable(target.space, self.budget), target.space.codec
        words = english_words(codec)
        generators = sample_generators(inputs, seed, self.id)

        def evolve(row: int) -> Search:
            rng, clean = Random(generators[row].initial_seed()), inputs[row]  # noqa: S311 - no secret

            def sendable(make: Callable[[], Words]) -> Words | None:
                made = (make() for _ in range(TRIES))
                return next((one for one in made if fits(clean, " ".join(one))), None)

            fitness = dict[Words, float]()
            pool: list[Words] = []
            for _ in range(self.generations):
                make = partial(self._child, pool, fitness, words, rng) if pool else partial(_drawn, words, rng)
                following = pool[:ELITES]
                for _ in range(self.population - len(following)):
                    if (child := sendable(make)) is not None:
                        following.append(child)
                if not following:
                    return
                fresh = [one for one in dict.fromkeys(following) if one not in fitness]
                texts = [" ".join(one) for one in fresh]
                steps = (yield texts).steps
                for one, text, count in zip(fresh, texts, steps, strict=True):
                    fitness[one] = count - self.alpha * len(codec.encode(text))
                if max(steps, default=0) >= tally.cap:
                    return
                pool = sorted(following, key=lambda one: -fitness[one])

        return evolve

    def _child(self, pool: Sequence[Words], fitness: dict[Words, float], words: Sequence[str], rng: Random) -> Words:
        """Return a child of two parents, each the fitter of two."""
        one, other = (max(rng.choice(pool), rng.choice(pool), key=fitness.__getitem__) for _ in range(2))
        mixed = [rng.choice(pair) for pair in zip(one, other, strict=False)]
        child = [*mixed, *one[len(mixed) :]]
        child = [rng.choice(words) if rng.random() < self.mutation else word for word in child]
        if rng.random() < self.mutation and len(child) < LONGEST:
            child.insert(rng.randint(0, len(child)), rng.choice(words))
        if rng.random() < self.mutation and len(child) > SHORTEST:
            del child[rng.randrange(len(child))]
        return tuple(child)


def english_words(codec: Codec) -> tuple[str, ...]:
    """Return the words that prompts are made of.

    >>> from torpor.core.text import Characters
    >>> from torpor.targets.decoder.toy_text import ToyCodec
    >>> english_words(ToyCodec())[:2], english_words(Characters())[:2]
    (('bird', 'cat'), ('again', 'all'))
    """
    known = tuple(word for word in vocabulary_words(codec) if word.isascii() and word.isalpha())
    return known or COMMON


def _drawn(words: Sequence[str], rng: Random) -> Words:
    return tuple(rng.choice(words) for _ in range(rng.randint(SHORTEST, LONGEST)))
