"""An attack: insert the characters that cost most, one after the other; all that it asks of a target is to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.incumbent import Incumbent, random_search
from torpor.core.batches import sample_generators
from torpor.core.threat import Access, Paper

CHARACTERS = "0123456789 abcdefghijklmnopqrstuvwxyz.,?"


@dataclass(frozen=True, kw_only=True)
class GreedyInsertion(Attack):
    """Insert characters at random, and go on from the costliest text so far.

    Attributes:
        queries: texts that the target is asked about, per sample.
    """

    id: ClassVar[str] = "example-insertion"
    paper: ClassVar[Paper | None] = None
    access: ClassVar[Access] = Access.SCORE
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    norms: ClassVar[tuple[str, ...]] = ("chars",)

    norm: str = "chars"
    eps: float = 3
    queries: int = 40

    def search(self, target: Any, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        generators = sample_generators(inputs, seed, self.id)

        def propose(query: int, rows: torch.Tensor, held: Incumbent) -> tuple[str, ...]:
            return tuple(self._longer(inputs[row], held.inputs[row], generators[row]) for row in rows.tolist())

        held = random_search(target, inputs, propose, torch.full((len(inputs),), self.queries))
        return Candidates(held.inputs, held.queries, torch.zeros_like(held.queries))

    def _longer(self, clean: str, best: str, rng: torch.Generator) -> str:
        """Return the best text with one more character, or the clean one where the budget is spent."""
        text = best if len(best) - len(clean) < self.eps else clean
        place = int(torch.randint(len(text) + 1, (), generator=rng))
        return text[:place] + CHARACTERS[int(torch.randint(len(CHARACTERS), (), generator=rng))] + text[place:]
