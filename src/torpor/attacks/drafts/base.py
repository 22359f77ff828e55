"""What attacks on speculative decoding share: a suffix, improved by gradients of both models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.decoder.objectives import masked_mean
from torpor.attacks.iterative import gradient_of
from torpor.attacks.search.parts import search_parts
from torpor.attacks.text.search.coordinates import CoordinateSearch
from torpor.attacks.text.search.forced import answer_scores, chosen
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Outcome, Work
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.speculative.family import DraftSignals

Signals = TypeVar("Signals", bound=StepSignals)


@dataclass(frozen=True, kw_only=True)
class DraftSearch(CoordinateSearch):
    """Base: append tokens, and improve them by greedy coordinate gradient on what the drafter and the model say.

    The gradient of a token is that of both models' embeddings. Candidates are ranked by what they really cost, the
    FLOPs of all rounds, as :class:`~torpor.attacks.text.search.coordinates.CoordinateSearch` ranks by length: a
    rejected guess and a longer output both raise it. The papers report how few guesses survive, whatever that costs: of
    the texts that cost more than the clean one, ``keep="rejected"`` takes that with the largest share of rejected
    guesses, and ends where none is accepted.

    Attributes:
        keep: texts by their ``"cost"``, or by the share of their guesses that is ``"rejected"``.
    """

    reads: ClassVar[type | None] = DraftSignals
    needs: ClassVar[tuple[str, ...]] = ("embedding_matrix", "score", "cap", "rounds", "small")
    passes: ClassVar[int] = 2

    eps: float = 8
    steps: int = 12
    top_k: int = 64
    candidates: int = 48
    keep: Literal["cost", "rejected"] = "cost"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in ("cost", "rejected"):
            raise UsageError(f"expected cost or rejected to keep texts by, got {self.keep!r}")

    @override
    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        if self.keep == "cost":
            return super().search(target, inputs, labels, seed)
        clean = target.attacker_cost(target.run(tuple(inputs))).tolist()
        parts = [(Rejecting(target, cost), torch.tensor([row])) for row, cost in enumerate(clean)]
        found = search_parts(super().search, parts, tuple(inputs), (), seed)
        return replace(found, curves=None)  # which are of shares, not of costs


PARTS = 1_000_000
"""Of a share, since goals of searches are whole."""


class Rejecting:
    """A target whose searches raise the share of rejected guesses, among texts that cost more than the clean one.

    Args:
        target: what is attacked.
        clean: cost of the clean text.
    """

    most_goal = PARTS

    def __init__(self, target: Any, clean: float) -> None:  # noqa: ANN401 - it counts rounds
        self.target, self.clean = target, clean

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the target's
        return getattr(self.target, name)

    def offers(self, *names: str) -> bool:
        """See :meth:`torpor.targets.base.Target.offers`."""
        return bool(self.target.offers(*names))

    def attacker_cost(self, outcome: Outcome) -> Tensor:
        """Return the share of rejected guesses, float64 ``[B]``; below 0 for texts no costlier than the clean one."""
        ran = self.target.rounds(outcome.work)
        share: Tensor = 1 - ran["accepted"].double() / ran["drafted"].double().clamp_min(1)
        spent = self.target.attacker_cost(outcome) / self.clean
        return torch.where(spent > 1, share, share * spent - 1)

    def goal(self, work: Work) -> Tensor:
        """Return the same in millionths, int64 ``[B]``."""
        return (PARTS * self.attacker_cost(Outcome((), work))).round().to(torch.int64)


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
