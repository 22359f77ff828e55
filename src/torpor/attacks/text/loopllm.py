"""LoopLLM: a suffix of one repeated segment that draws a language model into repeating it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.decoder.objectives import masked_mean
from torpor.attacks.text.search.constraints import Sendable, insertable
from torpor.attacks.text.search.driver import Search, TextSearch
from torpor.attacks.text.search.gradients import TokenGradient, first_order, token_gradient
from torpor.attacks.text.search.tally import Tally
from torpor.core.errors import UsageError
from torpor.core.paper import Paper
from torpor.core.seeds import sample_generators
from torpor.core.signals import StepSignals
from torpor.targets.decoder.contract import TextTarget

STARTS = 1000  # random segments that are tried until one survives the tokenizer

Segment = tuple[int, ...]


@dataclass(frozen=True)
class Loop:
    """Make a segment's tokens likely at every step: the mean of ``-log(sum of their probabilities)``.

    Attributes:
        segment: ids.

    >>> from torpor.core.work import Work
    >>> work, mask = Work(torch.tensor([[1]])), torch.ones(1, 1, dtype=torch.bool)
    >>> Loop((1, 2))(StepSignals(torch.zeros(1, 1, 4), torch.zeros(1, 1).long(), mask, (0,), work)).exp().item()
    2.0
    """

    segment: Segment

    def __call__(self, signals: StepSignals) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        likely = signals.logits[..., sorted(set(self.segment))].logsumexp(-1)
        return masked_mean(signals.logits.logsumexp(-1) - likely, signals)


@dataclass(frozen=True, kw_only=True)
class LoopLLM(TextSearch):
    """Append one segment, repeated to ``eps`` tokens, and improve it by greedy coordinate gradient.

    Each step differentiates the loss along the answer that the current suffix really gets, sums the gradients of a
    segment's token over its repetitions, and tries random substitutes among the ``top_k`` best. The paper ranks them by
    the loss on that same answer and generates once per step; here every candidate generates, and the loss to first
    order only breaks ties, for a loss proves nothing. With a segment of one token the best substitutes are tried, not
    random ones. The search continues from a step's best candidate even if it is worse, and ends at the cap: the paper's
    further condition, low entropy, is about sampled answers.

    Attributes:
        segment: tokens that are repeated.
        steps: substitutions at most.
        top_k: substitutes per token of the segment.
        candidates: tried per step.
    """

    id: ClassVar[str] = "loopllm"
    paper: ClassVar[Paper | None] = Paper(
        "LoopLLM: Transferable Energy-Latency Attacks in LLMs via Repetitive Generation",
        "Li et al.",
        "AAAI",
        2026,
        "arXiv:2511.07876",
    )
    norms: ClassVar[tuple[str, ...]] = ("suffix",)
    reads: ClassVar[type | None] = StepSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "score", "cap")

    norm: str = "suffix"
    eps: float = 30
    segment: int = 1
    steps: int = 20
    top_k: int = 64
    candidates: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.segment, self.steps, self.top_k, self.candidates) < 1 or self.segment > self.eps:
            raise UsageError(
                "expected segment, steps, top_k and candidates of 1 or more, and a segment within eps, got "
                f"{self.segment}, {self.steps}, {self.top_k} and {self.candidates}"
            )

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        append = partial(appended, Sendable(target.space, self.budget))
        matrix = target.embedding_matrix().detach()
        allowed = insertable(target.space.codec, len(matrix))
        generators = sample_generators(inputs, seed, self.id)

        def climb(row: int) -> Search:
            clean, generator = inputs[row], generators[row]
            starts = ((segment, append(clean, segment)) for segment in self._random(allowed, generator))
            tried = list(islice(((segment, text) for segment, text in starts if text is not None), 1))
            for left in range(self.steps, -1, -1):
                if not tried:
                    return
                steps = yield [text for _, text in tried]
                segment, current = tried[steps.index(max(steps))]
                if left == 0 or max(steps) >= tally.cap:
                    return
                gradient = token_gradient(target, current, Loop(segment))
                tally.note(row, gradient)
                changes = per_slot(gradient, len(target.space.codec.encode(clean)), segment, matrix, allowed)
                pairs = ((better, append(clean, better)) for better in self._better(changes, segment, generator))
                tried = [(better, text) for better, text in pairs if text is not None]

        return climb

    def _random(self, allowed: Tensor, generator: torch.Generator) -> Iterator[Segment]:
        """Draw segments to start from."""
        ids = allowed.nonzero().flatten()
        for _ in range(STARTS):
            yield tuple(ids[torch.randint(len(ids), (self.segment,), generator=generator)].tolist())

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


def appended(fits: Sendable, clean: str, segment: Segment) -> str | None:
    """Return ``clean`` with as many repetitions of ``segment`` as fit; None if they cannot be sent as these tokens.

    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> space = ToyText().space
    >>> appended(Sendable(space, Budget("suffix", 5)), "a cat", space.codec.encode("ab"))
    'a catabab'
    """
    codec = fits.space.codec
    before = tuple(codec.encode(clean))
    ids = before + segment * (min(int(fits.budget.eps), fits.space.max_tokens - len(before)) // len(segment))
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
