"""WAFFLE's universal trigger: a few words after any text, with which no exit is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.objectives import EXITS
from torpor.attacks.text.exits.waffle import PAPER, slowness
from torpor.attacks.text.exits.words import whole_words
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.universal import to_learn_from
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import TextGateSignals
from torpor.core.text import pack, unpack
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

LIMIT = 200
"""Texts to learn from at most."""
TOP = 20
"""Words that are tried at a place in each round, the best to first order."""


class UniversalTrigger(NamedTuple):
    """What was learned, and what that took.

    Attributes:
        words: of the trigger, separated by spaces.
        forwards: texts that went forward through the target.
        zero_gradient: whether most of the first gradient was exactly zero.
    """

    words: str
    forwards: int
    zero_gradient: bool


@dataclass(frozen=True, kw_only=True)
class UniversalWords(Attack):
    """Append words that were learned on other texts, by HotFlip on the mean score of all of them.

    In each round and at each place, the 20 words that raise WAFFLE's score most, to first order, are tried on all texts
    (universal adversarial triggers, Wallace et al., EMNLP 2019).

    Attributes:
        rounds: over all places.
        trigger: None before :meth:`fit`.
    """

    id: ClassVar[str] = "waffle-universal"
    paper: ClassVar[Paper | None] = PAPER
    stage: ClassVar[Stage] = Stage.UNIVERSAL
    learns: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    norms: ClassVar[tuple[str, ...]] = ("words",)
    radii: ClassVar[Mapping[str, float]] = {}
    reads: ClassVar[type | None] = TextGateSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", EXITS)

    norm: str = "words"
    eps: float = 3
    rounds: int = 4
    trigger: UniversalTrigger | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise UsageError(f"expected 1 round or more, got {self.rounds}")

    @override
    def fit(
        self,
        target: Any,
        inputs: Sequence[str],
        *,
        references: object = None,
        seed: int = 0,
    ) -> Self:
        texts, known = tuple(inputs)[:LIMIT], whole_words(target.space.codec)
        if not known.words:
            raise UsageError(f"expected whole words among the tokens of {target.name}, got none; attack its characters")
        matrix = target.embedding_matrix().detach()[known.ids]
        rng = sample_generators([""], seed, self.id)[0]
        place = torch.randint(len(known.words), (int(self.eps),), generator=rng)
        words = [known.words[each] for each in place.tolist()]
        best, forwards, zero = self._score(target, texts, words), len(texts), False
        for round_ in range(self.rounds):
            before = best
            for slot in range(len(words)):
                gradient = self._gradient(target, texts, words)[slot]
                zero = zero or (round_ == slot == 0 and bool((gradient == 0).float().mean() > 0.5))
                forwards += len(texts)
                for new in (matrix @ gradient).topk(min(TOP, len(matrix)), largest=True).indices.tolist():
                    changed = [*words[:slot], known.words[new], *words[slot + 1 :]]
                    found = self._score(target, texts, changed)
                    forwards += len(texts)
                    if found > best:
                        best, words = found, changed
            if best == before:
                break
        return replace(self, trigger=UniversalTrigger(" ".join(words), forwards, zero))

    def _sent(self, target: Any, texts: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:  # noqa: ANN401
        """Return the texts with the words after them, as they are where those do not fit."""
        fits = Sendable(target.space, self.budget)
        longer = (f"{text.rstrip()} {' '.join(words)}" for text in texts)
        return tuple(new if fits(text, new) else text for text, new in zip(texts, longer, strict=True))

    def _score(self, target: Any, texts: Sequence[str], words: Sequence[str]) -> float:  # noqa: ANN401
        with torch.no_grad():
            return slowness(target.signals(self._sent(target, texts, words)).exit_logits).mean().item()

    def _gradient(self, target: Any, texts: Sequence[str], words: Sequence[str]) -> Tensor:  # noqa: ANN401
        """Return the gradient of the mean score at the tokens of the words, ``[W, D]``."""
        signals = target.signals(self._sent(target, texts, words))
        score = slowness(signals.exit_logits).mean()
        (gradient,) = torch.autograd.grad(score, signals.embeddings)
        own = [mask.nonzero().flatten()[-len(words) :] for mask in signals.input_mask]
        return torch.stack([rows[places] for rows, places in zip(gradient, own, strict=True)]).sum(0)

    @override
    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        inputs, _ = to_learn_from(target, data, LIMIT)
        return self.fit(target, inputs, seed=seed)

    @override
    def state(self) -> Mapping[str, Tensor]:
        if self.trigger is None:
            return {}
        numbers = torch.tensor([self.trigger.forwards, int(self.trigger.zero_gradient)])
        return {"words": pack([self.trigger.words]), "numbers": numbers}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        forwards, zero = state["numbers"].tolist()
        return replace(self, trigger=UniversalTrigger(unpack(state["words"])[0], int(forwards), bool(zero)))

    @property
    @override
    def forwards_before(self) -> int:
        return 0 if self.trigger is None else self.trigger.forwards

    @override
    def search(self, target: Any, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        if self.trigger is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it on other inputs first")
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(
            self._sent(target, inputs, self.trigger.words.split()),
            forwards=nothing,
            backwards=nothing,
            zero_gradient=torch.full((len(inputs),), self.trigger.zero_gradient),
        )
