"""What attacks on speculative decoding share: a suffix, improved by gradients of both models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from torpor.attacks.decoder.objectives import masked_mean
from torpor.attacks.iterative import gradient_of
from torpor.attacks.text.search.coordinates import CoordinateSearch
from torpor.attacks.text.search.forced import answer_scores, chosen
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.speculative.family import DraftSignals

Signals = TypeVar("Signals", bound=StepSignals)


@dataclass(frozen=True, kw_only=True)
class DraftSearch(CoordinateSearch):
    """Base: append tokens, and improve them by greedy coordinate gradient on what the drafter and the model say.

    The gradient of a token is that of both models' embeddings. Candidates are ranked by what they really cost, the
    FLOPs of all rounds, as :class:`~torpor.attacks.text.search.coordinates.CoordinateSearch` ranks by length: a
    rejected guess and a longer output both raise it.
    """

    reads: ClassVar[type | None] = DraftSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "score", "cap", "rounds", "small")
    passes: ClassVar[int] = 2

    eps: float = 8
    steps: int = 12
    top_k: int = 64
    candidates: int = 48


def guessed(signals: StepSignals) -> Tensor:
    """Return the drafter's scores, ``[B, T, V]``.

    Raises:
        UsageError: if the drafter is no model.
    """
    scores = signals.draft_logits if isinstance(signals, DraftSignals) else None
    if scores is None:
        raise UsageError("expected a drafter that is a model, got prompt look-up; attack it with standard-text")
    return scores


def acceptance(signals: StepSignals) -> Tensor:
    """Return the probability that a guess is accepted, averaged over the steps, ``[B]``: the overlap of both models.

    What speculative sampling accepts on average, ``sum of min(p, q)`` (Leviathan et al., ICML 2023); a soft stand-in
    for greedy decoding, where a guess is accepted or not.
    """
    overlap = torch.minimum(signals.logits.softmax(-1), guessed(signals).softmax(-1)).sum(-1)
    return masked_mean(overlap, signals)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of scores ``[..., V]`` in nats, ``[...]``.

    >>> round(entropy(torch.zeros(4)).exp().item(), 4)
    4.0
    """
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def kept_loss(target: TextTarget, text: str, answer: Tensor) -> tuple[Tensor, Tensor]:
    """Return how unlikely an answer is after a text, a mean of ``-log p`` over its tokens, and what it depends on.

    Args:
        target: that is asked.
        text: as it is sent.
        answer: ids, int64 ``[T]``.

    Returns:
        The loss, and the embeddings of the text's own tokens ``[1, n, D]`` to differentiate it with respect to.
    """
    ids = list(target.space.codec.encode(text))
    vectors = target.embedding_matrix()[ids].detach().unsqueeze(0).requires_grad_()
    return -chosen(answer_scores(target, vectors, answer), answer.unsqueeze(0)).mean(), vectors


def kept_gradient(target: TextTarget, text: str, answer: Tensor) -> Tensor:
    """Return the gradient of :func:`kept_loss` at each of the text's own tokens, ``[n, D]``."""
    loss, vectors = kept_loss(target, text, answer)
    return gradient_of(loss, vectors)[0]


def answer_to(target: TextTarget, text: str) -> Tensor:
    """Return the ids that the target answers a text with, int64 ``[T]``."""
    return torch.tensor(target.run((text,)).outputs[0].ids)
