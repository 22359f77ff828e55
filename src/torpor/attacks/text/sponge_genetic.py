"""Sponge examples by a genetic algorithm: short texts that cost much, found by watching the cost alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.incumbent import Improvement
from torpor.attacks.text.search.goal import BATCH, at_bound
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.text import TextSpace
from torpor.core.threat import Access, Paper
from torpor.targets.decoder.contract import TextTarget

ELITE = 0.1  # share of the pool that survives and has children
MUTATION = 0.1  # share of a child's genes that are redrawn
FIRST = ord("!")
TRIES = 100  # children that may be rejected as duplicates, times the pool

Genome = tuple[int, ...]
"""Places in the alphabet, one per character."""


@dataclass(frozen=True, kw_only=True)
class SpongeGenetic(Attack):
    """Evolve texts of single characters, joined by spaces, under a limit of ``eps`` tokens.

    The fittest tenth of the pool survives and has children: each gene from either parent, then a tenth of the genes,
    but at least one, redrawn, and half of the children reversed. The published code mutates no gene at all in texts
    of fewer than ten, and mixes genes as if they were numbers, which draws them to the middle of the alphabet.

    Fitness is the cost in the target's currency, FLOPs for models that run here; the paper simulates joules. Among
    equals the shorter text is fitter. Rare characters are many tokens each, and long inputs cost by themselves, so
    length is limited in tokens, and a text's share of that limit is reported as
    :attr:`~torpor.attacks.base.AttackResult.budget_used`.

    Attributes:
        pool: texts in a generation.
        epochs: generations.
        alphabet: code points that genes are drawn from, starting at ``!``; those that the target cannot be sent, or
            that do not survive its tokenizer, are left out.
    """

    id: ClassVar[str] = "sponge-genetic"
    paper: ClassVar[Paper | None] = Paper(
        "Sponge Examples: Energy-Latency Attacks on Neural Networks",
        "Shumailov et al.",
        "IEEE EuroS&P",
        2021,
        "arXiv:2006.03463",
    )
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[tuple[str, ...]] = ("prompt",)
    radii: ClassVar[Mapping[str, float]] = {}
    kinds: ClassVar[tuple[str, ...]] = ("text",)

    norm: str = "prompt"
    eps: float = 32
    pool: int = 50
    epochs: int = 50
    alphabet: int = 40_960

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool < 4 or self.epochs < 1 or not 1 <= self.alphabet <= 0xD800 - FIRST:
            raise UsageError(
                f"expected a pool of 4 or more, 1 epoch or more and an alphabet of 1 to {0xD800 - FIRST}, got "
                f"{self.pool}, {self.epochs} and {self.alphabet}"
            )

    @property
    def queries(self) -> int:
        """Texts that are asked about at most."""
        return self.pool * self.epochs

    @override
    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        most = int(self.eps)
        letters, genes = alphabet(target.space, self.alphabet, most)
        generators = sample_generators(inputs, seed, self.id)
        pools = [_first(self.pool, genes, len(letters), generator) for generator in generators]
        known: list[dict[Genome, Fitness]] = [{} for _ in inputs]
        alive = list(range(len(inputs)))

        def ended(row: int) -> bool:
            text = spell(target.space, letters, pools[row][0], most)
            return bool(text) and at_bound(target, text, known[row][pools[row][0]].cost)

        for epoch in range(self.epochs):
            if epoch > 0:
                for row in alive:
                    weights = [known[row][genome].cost for genome in pools[row]]
                    pools[row] = breed(pools[row], weights, len(letters), generators[row])
            fresh = [(row, genome) for row in alive for genome in pools[row] if genome not in known[row]]
            found = _judge(target, [spell(target.space, letters, genome, most) for _, genome in fresh])
            for (row, genome), fitness in zip(fresh, found, strict=True):
                known[row][genome] = fitness
            for row in alive:
                pools[row].sort(key=known[row].__getitem__, reverse=True)
            alive = [row for row in alive if not ended(row)]
            if not alive:
                break
        texts = tuple(
            spell(target.space, letters, pool[0], most) or clean for pool, clean in zip(pools, inputs, strict=True)
        )
        costs = [[fitness.cost for fitness in genomes.values() if fitness.steps > 0] for genomes in known]
        spent = torch.tensor(list(map(len, costs)))
        curves = [[Improvement(*point) for point in enumerate(each, 1)] for each in costs]
        return Candidates(texts, forwards=spent, backwards=torch.zeros_like(spent), curves=curves)


class Fitness(NamedTuple):
    """What a text is compared by: first its cost, then how few tokens it has; steps are 1 if not counted."""

    cost: float
    fewer: int
    steps: int


@lru_cache(maxsize=8)
def alphabet(space: TextSpace, size: int, most: int) -> tuple[str, int]:
    """Return the usable characters among ``size`` code points, and how many of them ``most`` tokens hold on average.

    Raises:
        UsageError: if there are none.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> letters, genes = alphabet(ToyText().space, 1000, 32)
    >>> len(letters), genes
    (94, 16)
    """
    letters = [chr(FIRST + place) for place in range(size)]
    usable = [letter for letter in letters if letter.isprintable() and space.survives(f"{letter} {letter}")]
    if not usable:
        raise UsageError(f"expected characters that survive the tokenizer, got none of {size}; try a larger alphabet")
    encode = space.codec.encode
    tokens = sum(len(encode(f"{letter} {letter}")) - len(encode(letter)) for letter in usable) / len(usable)
    return "".join(usable), max(1, int(most / tokens))


def spell(space: TextSpace, letters: str, genome: Genome, most: int) -> str:
    """Return a genome as text, its last genes left out where it would have more than ``most`` tokens; or nothing."""
    for length in range(len(genome), 0, -1):
        text = " ".join(letters[gene] for gene in genome[:length])
        if len(space.codec.encode(text)) <= most and space.survives(text):
            return text
    return ""


def breed(pool: Sequence[Genome], weights: Sequence[float], letters: int, generator: torch.Generator) -> list[Genome]:
    """Return the next generation: the fittest, and their children.

    Args:
        pool: genomes, fittest first.
        weights: probability of each to be a parent.
        letters: size of the alphabet.
        generator: of the randomness.

    >>> pool = [(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)]
    >>> len(set(breed(pool, [4, 3, 2, 1], 10, torch.Generator().manual_seed(0))))
    4
    """
    parents = list(pool[: max(2, round(ELITE * len(pool)))])
    probabilities = torch.tensor(weights[: len(parents)], dtype=torch.float64).clamp_min(1e-9)
    following = dict.fromkeys(parents)
    for _ in range(TRIES * len(pool)):
        first, second = torch.multinomial(probabilities, 2, replacement=True, generator=generator).tolist()
        swap = torch.rand(len(pool[0]), generator=generator) < 0.5
        one, other = torch.tensor(parents[first]), torch.tensor(parents[second])
        for child in (torch.where(swap, one, other), torch.where(swap, other, one)):
            if len(following) == len(pool):
                return list(following)
            following[mutate(child, letters, generator)] = None
    return list(following)


def mutate(genome: Tensor, letters: int, generator: torch.Generator) -> Genome:
    """Return a genome with a tenth of its genes, one at least, redrawn, and reversed half of the time."""
    count = max(1, round(MUTATION * len(genome)))
    places = torch.randperm(len(genome), generator=generator)[:count]
    genome[places] = torch.randint(letters, (count,), generator=generator)
    turned = genome.flip(0) if torch.rand((), generator=generator) < 0.5 else genome
    return tuple(turned.tolist())


def _first(size: int, genes: int, letters: int, generator: torch.Generator) -> list[Genome]:
    """Return a pool of random genomes, no two of them alike."""
    drawn = torch.randint(letters, (size, genes), generator=generator).tolist()
    return list(dict.fromkeys(tuple(genome) for genome in drawn))


def _judge(target: TextTarget, texts: Sequence[str]) -> list[Fitness]:
    """Run the target on all texts that there are; what could not be spelled is least fit."""
    found: list[Fitness] = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        asked = tuple(text for text in batch if text)
        fitness = {"": Fitness(0.0, 0, 0)}
        if asked:
            outcome = target.run(asked)
            costs: list[float] = target.attacker_cost(outcome).tolist()
            counted = target.offers("iterations", "cap")
            lengths = target.iterations(outcome.work).tolist() if counted else [1] * len(asked)
            figures = zip(asked, costs, lengths, strict=True)
            for text, cost, steps in figures:
                fitness[text] = Fitness(cost, -len(target.space.codec.encode(text)), steps)
        found.extend(fitness[text] for text in batch)
    return found
