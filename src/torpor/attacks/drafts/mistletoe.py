"""Mistletoe: make the drafter disagree in directions that leave the output's meaning alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.drafts.base import DraftSearch, acceptance, answer_to, kept_gradient
from torpor.attacks.text.search.coordinates import Segment
from torpor.attacks.text.search.gradients import Loss, TokenGradient, token_gradient
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True, kw_only=True)
class Mistletoe(DraftSearch):
    """Follow the gradient of disagreement, without its part along the gradient of the target's semantics.

    Known from the abstract, which leaves open what is perturbed and how tokens are chosen. Here it is a suffix;
    the disagreement is one minus the overlap of both models' probabilities along the answer that the suffix really
    gets; the semantics are the likelihood of the clean answer after the attacked text; and the projection is of all
    tokens of the suffix as one vector, so that a small step along what is left does not change that likelihood.
    Substitutions of whole tokens are no small steps: outputs do change, and audits report how many.
    """

    id: ClassVar[str] = "mistletoe"
    paper: ClassVar[Paper | None] = Paper(
        "Mistletoe: Stealthy Acceleration-Collapse Attacks on Speculative Decoding",
        "Sun et al.",
        "arXiv",
        2026,
        "arXiv:2605.14005",
    )
    passes: ClassVar[int] = 4

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        return lambda segment: acceptance

    @override
    def gradient(self, target: TextTarget, clean: str, current: str, loss: Loss) -> TokenGradient:
        found = token_gradient(target, current, loss)
        kept = kept_gradient(target, current, answer_to(target, clean))
        start = len(target.space.codec.encode(clean))
        rows = found.rows.clone()
        rows[start:] = without(rows[start:], kept[start:])
        return replace(found, rows=rows)


def without(rows: Tensor, other: Tensor) -> Tensor:
    """Return ``rows`` without their part along ``other``, both ``[n, D]`` taken as one vector.

    >>> import torch
    >>> without(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 2.0]])).tolist()
    [[1.0, 0.0]]
    """
    size = other.square().sum()
    return rows if size == 0 else rows - other * ((rows * other).sum() / size)
