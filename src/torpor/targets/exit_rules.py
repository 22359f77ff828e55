"""Exit rules: when a multi-exit network is sure enough to stop.

A rule maps the logits of all exits so far to a *margin* per sample: 0 or more means "leave here".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.core.errors import UsageError


@dataclass(frozen=True)
class ExitRule(ABC):
    """Decide whether samples leave at the newest of the exits evaluated so far."""

    @abstractmethod
    def margin(self, logits: Tensor) -> Tensor:
        """Return the margin ``[B]`` of the newest exit, given the logits ``[B, k, C]`` of exits ``0 .. k - 1``."""

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in a few words."""


@dataclass(frozen=True)
class Confidence(ExitRule):
    """Leave when the largest softmax probability reaches ``threshold`` (Shallow-Deep Networks, ICML 2019).

    >>> Confidence(0.9).margin(torch.tensor([[[0.0, 0.0]], [[0.0, 9.0]]])) >= 0
    tensor([False,  True])
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UsageError(f"expected a confidence threshold in (0, 1], got {self.threshold}")

    def margin(self, logits: Tensor) -> Tensor:
        """See :meth:`ExitRule.margin`."""
        return logits[:, -1].softmax(-1).amax(-1) - self.threshold

    def describe(self) -> str:
        """See :meth:`ExitRule.describe`."""
        return f"confidence >= {self.threshold:g}"


@dataclass(frozen=True)
class Entropy(ExitRule):
    """Leave when the entropy of the softmax, as a share of its maximum log C, falls to ``threshold`` (BranchyNet).

    >>> Entropy(0.5).margin(torch.tensor([[[0.0, 0.0]], [[0.0, 9.0]]])) >= 0
    tensor([False,  True])
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise UsageError(f"expected an entropy threshold in [0, 1), got {self.threshold}")

    def margin(self, logits: Tensor) -> Tensor:
        """See :meth:`ExitRule.margin`."""
        log_p = F.log_softmax(logits[:, -1], dim=-1)
        entropy = -(log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])
        return self.threshold - entropy

    def describe(self) -> str:
        """See :meth:`ExitRule.describe`."""
        return f"normalized entropy <= {self.threshold:g}"


@dataclass(frozen=True)
class Patience(ExitRule):
    """Leave when ``patience + 1`` exits in a row predict the same class (Zhou et al., "BERT Loses Patience", 2020).

    The margin's sign is the rule; its size is the smallest gap between the two likeliest classes among these exits,
    so it reaches zero where a prediction is about to flip.

    >>> logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> Patience(1).margin(logits) >= 0
    tensor([ True, False])
    """

    patience: int

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise UsageError(f"expected a patience of 1 or more, got {self.patience}")

    def margin(self, logits: Tensor) -> Tensor:
        """See :meth:`ExitRule.margin`."""
        recent = logits[:, -(self.patience + 1) :]
        best = recent.softmax(-1).topk(2, dim=-1)
        gap = (best.values[..., 0] - best.values[..., 1]).amin(1)
        if recent.shape[1] <= self.patience:
            return -1 - gap
        predictions = best.indices[..., 0]
        agrees = (predictions == predictions[:, :1]).all(1)
        return torch.where(agrees, gap, -gap - torch.finfo(gap.dtype).tiny)

    def describe(self) -> str:
        """See :meth:`ExitRule.describe`."""
        return f"{self.patience + 1} exits in a row agree"


def parse_rule(text: str) -> ExitRule:
    """Read ``"confidence:0.8"``, ``"entropy:0.3"`` or ``"patience:2"``.

    Raises:
        UsageError: on anything else.

    >>> parse_rule("patience:2")
    Patience(patience=2)
    """
    kind, _, value = text.partition(":")
    try:
        if kind == "confidence":
            return Confidence(float(value))
        if kind == "entropy":
            return Entropy(float(value))
        if kind == "patience":
            return Patience(int(value))
    except ValueError:
        pass
    raise UsageError(f"expected an exit rule such as confidence:0.8, entropy:0.3 or patience:2, got {text!r}")
