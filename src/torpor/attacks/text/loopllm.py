"""LoopLLM: a suffix of one repeated segment that draws a language model into repeating it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.decoder.objectives import masked_mean
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.coordinates import CoordinateSearch, Segment, appended
from torpor.attacks.text.search.gradients import Loss
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

STARTS = 1000  # random segments that are tried until one survives the tokenizer


@dataclass(frozen=True)
class RepeatedSegment:
    """Make a segment's tokens likely at every step: the mean of ``-log(sum of their probabilities)``.

    Attributes:
        segment: ids.

    >>> from torpor.core.work import Work
    >>> work, mask = Work(torch.tensor([[1]])), torch.ones(1, 1, dtype=torch.bool)
    >>> signals = StepSignals(torch.zeros(1, 1, 4), torch.zeros(1, 1).long(), mask, (0,), work)
    >>> RepeatedSegment((1, 2))(signals).exp().item()
    2.0
    """

    segment: Segment

    def __call__(self, signals: StepSignals) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        likely = signals.logits[..., sorted(set(self.segment))].logsumexp(-1)
        return masked_mean(signals.logits.logsumexp(-1) - likely, signals)


@dataclass(frozen=True, kw_only=True)
class LoopLLM(CoordinateSearch):
    """Append one segment, repeated to ``eps`` tokens, and improve it by greedy coordinate gradient.

    The paper lets every token of the suffix change on its own; here one segment is searched, and all its repetitions
    change with it. Each step differentiates the loss along the answer that the current suffix really gets, sums the
    gradients of a segment's token over its repetitions, and tries random substitutes among the ``top_k`` best. The
    paper ranks them by the loss on that same answer and generates once per step; here every candidate generates, and
    the loss to first order only breaks ties, for a loss proves nothing. With a segment of one token the best
    substitutes are tried, not random ones. The search continues from a step's best candidate even if it is worse, and
    ends at the cap: the paper's further condition, low entropy, is about sampled answers.

    Attributes:
        segment: tokens that are repeated.
    """

    id: ClassVar[str] = "loopllm"
    paper: ClassVar[Paper | None] = Paper(
        "LoopLLM: Transferable Energy-Latency Attacks in LLMs via Repetitive Generation",
        "Li et al.",
        "AAAI",
        2026,
        "arXiv:2511.07876",
    )

    eps: float = 30
    segment: int = 1
    steps: int = 20
    top_k: int = 64
    candidates: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.segment <= self.eps:
            raise UsageError(f"expected a segment of 1 to {self.eps:g} tokens, got {self.segment}")

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        return RepeatedSegment

    @override
    def starts(self, fits: Sendable, clean: str, allowed: Tensor, generator: torch.Generator) -> Iterator[Segment]:
        ids = allowed.nonzero().flatten()
        for _ in range(STARTS):
            yield tuple(ids[torch.randint(len(ids), (self.segment,), generator=generator)].tolist())

    @override
    def append(self, fits: Sendable, clean: str, segment: Segment) -> str | None:
        return repeated(fits, clean, segment)


def repeated(fits: Sendable, clean: str, segment: Segment) -> str | None:
    """Return ``clean`` with as many repetitions of ``segment`` as fit; None if they cannot be sent as these tokens.

    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> space = ToyText().space
    >>> repeated(Sendable(space, Budget("suffix", 5)), "a cat", space.codec.encode("ab"))
    'a catabab'
    """
    room = min(int(fits.budget.eps), fits.space.max_tokens - len(fits.space.codec.encode(clean)))
    return appended(fits, clean, segment * (room // len(segment)))
