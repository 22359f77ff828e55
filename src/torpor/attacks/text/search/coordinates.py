"""Greedy coordinate gradient (GCG, Zou et al., arXiv:2307.15043): tokens after a text, improved one at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import Loss, TokenGradient, first_order, token_gradient
from torpor.attacks.text.search.random_edits import RandomEditor
from torpor.attacks.text.search.tally import Tally
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.text import Codec
from torpor.targets.decoder.contract import TextTarget

Segment = tuple[int, ...]
"""Ids of the tokens that are searched."""


@dataclass(frozen=True, kw_only=True)
class CoordinateSearch(TextSearch):
    """Base: append tokens, and improve them by greedy coordinate gradient on a loss.

    Each step differentiates the loss along the answer that the current suffix really gets and tries random substitutes
    among the ``top_k`` best of each token, to first order. GCG ranks them by the loss on a fixed answer; here every
    candidate generates, its length ranks, and the loss to first order only breaks ties, for a loss proves nothing. The
    search continues from a step's best candidate even if it is worse, returns the longest of all, and ends at the cap.
    Candidates that the tokenizer would read otherwise are dropped without a query.

    Attributes:
        passes: forward passes that one gradient takes.
        steps: substitutions at most.
        top_k: substitutes per token.
        candidates: drawn per step.
    """

    norms: ClassVar[tuple[str, ...]] = ("suffix",)
    reads: ClassVar[type | None] = StepSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "score", "cap")
    passes: ClassVar[int] = 1

    norm: str = "suffix"
    steps: int = 500
    top_k: int = 256
    candidates: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.top_k, self.candidates) < 1:
            raise UsageError(
                "expected steps, top_k and candidates of 1 or more, got "
                f"{self.steps}, {self.top_k} and {self.candidates}"
            )

    @abstractmethod
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        """Return what builds the loss of a segment."""

    def allowed(self, codec: Codec, size: int) -> Tensor:
        """Return which of ``size`` ids may be in a segment, bool ``[V]``."""
        return insertable(codec, size)

    def starts(self, fits: Sendable, clean: str, allowed: Tensor, generator: torch.Generator) -> Iterator[Segment]:
        """Draw segments to start from; the first that can be sent is taken."""
        text = RandomEditor(fits, allowed).edit(clean, int(self.eps), generator)
        codec = fits.space.codec
        yield tuple(codec.encode(text))[len(codec.encode(clean)) :]

    def append(self, fits: Sendable, clean: str, segment: Segment) -> str | None:
        """Return the text with a segment after it; None if it cannot be sent as these tokens."""
        return appended(fits, clean, segment)

    def gradient(self, target: TextTarget, clean: str, current: str, loss: Loss) -> TokenGradient:
        """Return the gradient that ranks substitutes: by default that of the loss at the current text."""
        return token_gradient(target, current, loss)

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        fits, codec = Sendable(target.space, self.budget), target.space.codec
        matrix = target.embedding_matrix().detach()
        allowed = self.allowed(codec, len(matrix))
        objective = self.objective(target)
        generators = sample_generators(inputs, seed, self.id)

        def climb(row: int) -> Search:
            clean, generator = inputs[row], generators[row]
            first = self.starts(fits, clean, allowed, generator)
            starts = ((segment, self.append(fits, clean, segment)) for segment in first)
            tried = list(islice(((segment, text) for segment, text in starts if text is not None), 1))
            for left in range(self.steps, -1, -1):
                if not tried:
                    return
                steps = (yield [text for _, text in tried]).steps
                segment, current = tried[steps.index(max(steps))]
                if left == 0 or max(steps) >= tally.cap:
                    return
                gradient = self.gradient(target, clean, current, objective(segment))
                tally.note(row, gradient, self.passes)
                changes = per_slot(gradient, len(codec.encode(clean)), segment, matrix, allowed)
                better = self._better(changes, segment, generator)
                pairs = ((changed, self.append(fits, clean, changed)) for changed in better)
                tried = [(changed, text) for changed, text in pairs if text is not None]

        return climb

    def _better(self, changes: Tensor, segment: Segment, generator: torch.Generator) -> list[Segment]:
        """Return segments with one token changed, lowest first-order loss first."""
        best = changes.topk(min(self.top_k, changes.shape[1]), largest=False)
        options = [
            (score, slot, token)
            for slot, (scores, tokens) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True))
            for score, token in zip(scores, tokens, strict=True)
            if score < torch.inf
        ]
        if len(options) > self.candidates:
            order = torch.randperm(len(options), generator=generator)[: self.candidates]
            options = [options[place] for place in order.tolist()]
        return [(*segment[:slot], token, *segment[slot + 1 :]) for _, slot, token in sorted(options)]


def appended(fits: Sendable, clean: str, suffix: Segment) -> str | None:
    """Return ``clean`` with the tokens of ``suffix`` after it; None if they cannot be sent as these tokens.

    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> space = ToyText().space
    >>> appended(Sendable(space, Budget("suffix", 5)), "a cat", space.codec.encode("ab"))
    'a catab'
    """
    codec = fits.space.codec
    ids = (*codec.encode(clean), *suffix)
    text = codec.decode(ids)
    return text if tuple(codec.encode(text)) == ids and fits(clean, text) else None


def per_slot(gradient: TokenGradient, start: int, segment: Segment, matrix: Tensor, allowed: Tensor) -> Tensor:
    """Return what each token of a segment would change if it were another, over all its repetitions, ``[c, V]``.

    Rows are scaled to norm 1, so that no token of the segment outweighs the others; rows of zeros stay zero.

    Args:
        gradient: of the whole text.
        start: position of the first repetition.
        segment: ids.
        matrix: input embeddings ``[V, D]``.
        allowed: which ids may be put in, bool ``[V]``; the others are infinite.
    """
    rows = gradient.rows[start:]
    slots = torch.arange(len(rows), device=rows.device) % len(segment)
    summed = torch.zeros(len(segment), rows.shape[1]).to(rows).index_add_(0, slots, rows)
    ids = torch.tensor(segment, device=rows.device)
    changes = first_order(TokenGradient(ids, summed, gradient.loss), matrix, allowed)
    size: Tensor = torch.linalg.vector_norm(changes.where(changes < torch.inf, 0), dim=1, keepdim=True)
    return changes / size.clamp_min(torch.finfo(changes.dtype).tiny)
