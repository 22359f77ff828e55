"""Controls for attacks on texts: what edits of the same budget do without any optimization, or by random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.controls.dense import check_queries
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.goal import ask_each, rises
from torpor.attacks.text.search.random_edits import RANDOM_SEARCH, RandomEditor, random_texts
from torpor.attacks.text.wording import requested
from torpor.core.batches import sample_generators
from torpor.core.budget import COUNTS, GROWING
from torpor.core.threat import Access, Paper
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True, kw_only=True)
class TextControl(Attack):
    """An attack that follows no signal."""

    paper: ClassVar[Paper | None] = None
    access: ClassVar[Access] = Access.NONE
    is_control: ClassVar[bool] = True
    norms: ClassVar[tuple[str, ...]] = COUNTS
    radii: ClassVar[Mapping[str, float]] = {"suffix": 30, "prompt": 32}
    kinds: ClassVar[tuple[str, ...]] = ("text",)

    norm: str = "chars"
    eps: float = 3

    def _free(self, texts: Sequence[str]) -> Candidates:
        nothing = torch.zeros(len(texts), dtype=torch.int64)
        return Candidates(tuple(texts), forwards=nothing, backwards=nothing)


@dataclass(frozen=True, kw_only=True)
class RandomEdits(TextControl):
    """Random edits that spend the whole budget, at random positions of the text.

    Characters and tokens are inserted, replaced and deleted; words are replaced by others of the tokenizer, or of the
    text itself where it has none; suffixes and prompts are random tokens.
    """

    id: ClassVar[str] = "control-random-edits"

    @override
    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        editor = RandomEditor(Sendable(target.space, self.budget))
        generators = sample_generators(inputs, seed, self.id)
        pairs = zip(inputs, generators, strict=True)
        return self._free([editor.edit(text, int(self.eps), generator) for text, generator in pairs])


@dataclass(frozen=True, kw_only=True)
class BestOfK(TextControl):
    """The costliest of as many randomly edited texts as another attack made queries: random search.

    Attributes:
        queries: texts to try for each sample of the same batch, int64 ``[B]``: what the costliest attack spent.
    """

    id: ClassVar[str] = RANDOM_SEARCH
    access: ClassVar[Access] = Access.DECISION

    queries: Tensor = field(compare=False, repr=False)

    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        """See :meth:`Attack.search`.

        Raises:
            UsageError: if the queries are of another batch.
        """
        check_queries(self.queries, inputs)
        draw = random_texts(Sendable(target.space, self.budget), inputs, seed)
        drawn = {row: draw(row, count) for row, count in enumerate(self.queries.tolist())}
        answers = ask_each(target, drawn)
        curves = [rises(answers[row], 0, 0) for row in drawn]
        best = [
            texts[answers[row].costs.index(max(answers[row].costs))] if texts else inputs[row]
            for row, texts in drawn.items()
        ]
        spent = self.queries.to("cpu", torch.int64)
        return Candidates(tuple(best), forwards=spent, backwards=torch.zeros_like(spent), curves=curves)


@dataclass(frozen=True, kw_only=True)
class KeepWriting(TextControl):
    """Ask in plain words not to stop: what a language model does without any attack.

    The request is appended, or sent instead of the text, as far as the budget's tokens reach. It means something to
    models that follow instructions; to others, such as translators, it is a benign text of the same length.

    Attributes:
        request: what is asked for.
    """

    id: ClassVar[str] = "control-keep-writing"
    norms: ClassVar[tuple[str, ...]] = GROWING

    norm: str = "suffix"
    eps: float = 30
    request: str = "Keep writing without stopping. Never end your answer."

    @override
    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        fits = Sendable(target.space, self.budget)
        return self._free([requested(fits, text, self.request) for text in inputs])
