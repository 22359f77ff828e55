"""Rerouting without the gate: one suffix for all texts, improved by how many of them it has rerouted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.text.experts.repetitioncurse import whole_words
from torpor.attacks.text.routing.rerouting import PAPER
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.random_edits import below
from torpor.attacks.universal import to_learn_from
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.text import pack, unpack
from torpor.core.threat import Access, Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target


class Gadget(NamedTuple):
    """A suffix that was learned, and what that took.

    Attributes:
        text: with the space before it.
        forwards: texts that the target was asked about.
    """

    text: str
    forwards: int


@dataclass(frozen=True, kw_only=True)
class SuffixForAll(Attack):
    """Base: learn words on other texts, and append them to each.

    Attributes:
        texts: of the validation split, to learn from.
        gadget: None before :meth:`fit`.
    """

    paper: ClassVar[Paper | None] = PAPER
    stage: ClassVar[Stage] = Stage.UNIVERSAL
    learns: ClassVar[bool] = True
    learns_from_data: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    norms: ClassVar[tuple[str, ...]] = ("suffix",)
    radii: ClassVar[Mapping[str, float]] = {}
    needs: ClassVar[tuple[str, ...]] = ("expensive",)

    norm: str = "suffix"
    eps: float = 4
    texts: int = 48
    gadget: Gadget | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts < 1:
            raise UsageError(f"expected 1 text or more to learn from, got {self.texts}")

    def sent(self, target: Any, inputs: Sequence[str], suffix: str) -> tuple[str, ...]:  # noqa: ANN401 - a router
        """Return the texts with a suffix after them, as they are where that does not fit."""
        fits = Sendable(target.space, self.budget)
        longer = (text.rstrip() + suffix for text in inputs)
        return tuple(new if fits(text, new) else text for text, new in zip(inputs, longer, strict=True))

    @override
    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        inputs, _ = to_learn_from(target, data, self.texts)
        return self.fit(target, inputs, seed=seed)

    @override
    def state(self) -> Mapping[str, Tensor]:
        if self.gadget is None:
            return {}
        forwards, backwards = torch.tensor(self.gadget.forwards), torch.tensor(0)
        return {"text": pack([self.gadget.text]), "forwards": forwards, "backwards": backwards}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        return replace(self, gadget=Gadget(unpack(state["text"])[0], int(state["forwards"].item())))

    @property
    @override
    def forwards_before(self) -> int:
        return 0 if self.gadget is None else self.gadget.forwards

    @override
    def search(self, target: Any, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        if self.gadget is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it on other inputs first")
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(self.sent(target, inputs, self.gadget.text), forwards=nothing, backwards=nothing)


@dataclass(frozen=True, kw_only=True)
class ReroutingBlack(SuffixForAll):
    """Change one word of the suffix at a time, and keep what has more texts rerouted: a hill climb on decisions alone.

    The cost escalation of the paper's taxonomy with black-box access, known from its abstract; one decision says too
    little to climb by, so that the suffix is learned on several texts at once, as "Rerouting LLM Routers" (Shafran et
    al., 2025) learns its gadgets.

    Attributes:
        steps: suffixes that are tried.
    """

    id: ClassVar[str] = "rerouting-black"
    access: ClassVar[Access] = Access.DECISION

    steps: int = 60

    @override
    def fit(self, target: Any, inputs: Sequence[str], *, references: object = None, seed: int = 0) -> Self:
        texts = tuple(inputs)[: self.texts]

        def rerouted(suffix: str) -> float:
            return float(target.expensive(target.run(self.sent(target, texts, suffix)).work).sum())

        words = list(whole_words(target.space.codec))
        rng = sample_generators([""], seed, self.id)[0]
        suffix, tried = hill_climb(rerouted, words, int(self.eps), self.steps, rng)
        return replace(self, gadget=Gadget(suffix, tried * len(texts)))


def hill_climb(
    worth: Callable[[str], float], words: Sequence[str], length: int, steps: int, rng: torch.Generator
) -> tuple[str, int]:
    """Return the best suffix of so many words that a hill climb finds, and how many it tried.

    A change that is worth the same is kept too, so that plateaus are crossed.

    >>> rng = torch.Generator().manual_seed(0)
    >>> hill_climb(lambda suffix: suffix.count("b"), [" a", " b"], 2, 30, rng)[0]
    ' b b'
    """
    best = [words[below(len(words), rng)] for _ in range(length)]
    most = worth("".join(best))
    for _ in range(steps - 1):
        slot = below(length, rng)
        new = [*best[:slot], words[below(len(words), rng)], *best[slot + 1 :]]
        if (found := worth("".join(new))) >= most:
            best, most = new, found
    return "".join(best), steps
