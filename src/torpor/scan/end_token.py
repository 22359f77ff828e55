"""The end token's weights in a language model's head, against those of all other tokens and of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.targets.base import Target

TINY = 1e-12


@dataclass(frozen=True)
class EndToken:
    """What stands out about the end token; of several, of the one that stands out most.

    Attributes:
        norm_score: how many deviations the norm of its row is away from the median over all tokens, absolute.
        bias_score: the same of its bias; None where the head has none.
        change: norm of the change of its row from the reference over the median of those of other tokens; None without
            a reference.
        alone: whether its weights differ from the reference, and no other token's do; None without a reference.
    """

    norm_score: float
    bias_score: float | None = None
    change: float | None = None
    alone: bool | None = None


def has_head(target: Target) -> bool:
    """Tell whether a target has a network that scores tokens, and knows which of them end.

    >>> from torpor.targets.early_exit.toys import WindowTarget
    >>> has_head(WindowTarget([0.5], [0.1]))
    False
    """
    return target.offers("eos", "model") and _head_of(target) is not None


def audit_end_token(target: Target, reference: Target | None = None) -> EndToken:
    """Look at the rows of the end tokens in the head.

    Args:
        target: which :func:`has_head`.
        reference: a model of the same vocabulary that is trusted.

    Raises:
        UsageError: if there is no head, or the reference has another one.
    """
    head = _weights(target)
    before = None if reference is None else _weights(reference)
    if before is not None and before[0].shape != head[0].shape:
        raise UsageError(
            f"expected a reference with a head of shape {list(head[0].shape)}, got {list(before[0].shape)}; "
            f"compare {target.name} with the model that it was made from"
        )
    ends: Any = target
    return judged(head, tuple(ends.eos), before)


Head = tuple[Tensor, Tensor | None]
"""Weights ``[V, D]`` and biases ``[V]``."""


def judged(head: Head, eos: tuple[int, ...], before: Head | None = None) -> EndToken:
    """Return what stands out about end tokens.

    >>> weights = torch.eye(5) * torch.tensor([1.0, 1.1, 0.9, 1.0, 9.0])
    >>> found = judged((weights, None), (4,), (torch.eye(5) * torch.tensor([1.0, 1.1, 0.9, 1.0, 1.0]), None))
    >>> found.norm_score > 5, found.alone
    (True, True)
    """
    weight, bias = head
    rows = torch.zeros(len(weight), dtype=torch.bool)
    rows[list(eos)] = True
    scores = _deviations(weight.norm(dim=1), rows)
    biases = None if bias is None else _deviations(bias, rows)
    if before is None:
        return EndToken(scores, biases)
    moved = (weight - before[0]).norm(dim=1)
    if bias is not None and before[1] is not None:
        moved = (moved.square() + (bias - before[1]).square()).sqrt()
    change = float(moved[rows].max() / moved[~rows].median().clamp_min(TINY)) if moved.any() else 0.0
    return EndToken(scores, biases, change, bool(moved[rows].any() and not moved[~rows].any()))


def _deviations(values: Tensor, rows: Tensor) -> float:
    """Return how far those of ``rows`` are from the median, in robust standard deviations; the farthest one's."""
    middle = values.median()
    scale = 1.4826 * (values - middle).abs().median()
    return float((values[rows] - middle).abs().max() / scale.clamp_min(TINY))


def _head_of(target: Target) -> nn.Module | None:
    model: Any = getattr(target, "model", None)
    found: Any = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    weight = getattr(found, "weight", None)
    return found if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _weights(target: Target) -> Head:
    head = _head_of(target)
    if head is None:
        raise UsageError(f"expected a language model with a head over tokens, got {target.name}; leave it out")
    bias = getattr(head, "bias", None)
    weight: Any = head.weight
    return weight.detach().float().cpu(), bias.detach().float().cpu() if isinstance(bias, Tensor) else None
