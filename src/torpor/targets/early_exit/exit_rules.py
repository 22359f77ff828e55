"""Exit rules: when a multi-exit network is sure enough to stop.

A rule maps the logits of all exits so far to a *margin* per sample: 0 or more means "leave here". That is the deployed
decision. A margin in probabilities is no guide where the softmax is saturated: it is 1 in float32, and its gradient is
zero. So attacks follow :meth:`ExitRule.log_odds`, which decides the same on a scale that does not end.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.core.errors import UsageError

LINEAR = 15.0
"""Log-odds above which ``log(1 + exp(-x))`` is ``exp(-x)`` in float32."""


@dataclass(frozen=True)
class ExitRule(ABC):
    """Decide whether samples leave at the newest of the exits evaluated so far."""

    @abstractmethod
    def margin(self, logits: Tensor) -> Tensor:
        """Return the margin ``[B]`` of the newest exit, given the logits ``[B, k, C]`` of exits ``0 .. k - 1``."""

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return a margin ``[B]`` of the same sign with a gradient that lasts; :meth:`margin` if a rule has none."""
        return self.margin(logits)

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

    @override
    def margin(self, logits: Tensor) -> Tensor:
        return logits[:, -1].softmax(-1).amax(-1) - self.threshold

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return the log-odds of the likeliest class less those of the threshold; see :meth:`ExitRule.log_odds`."""
        least = torch.finfo(logits.dtype).eps / 4  # a softmax is 1 where less than this is left for the others
        edge = min(self.threshold, 1 - least)
        return same_sign(lead(logits[:, -1]) - (math.log(edge) - math.log1p(-edge)), self.margin(logits))

    @override
    def describe(self) -> str:
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

    @override
    def margin(self, logits: Tensor) -> Tensor:
        log_p = F.log_softmax(logits[:, -1], dim=-1)
        entropy = -(log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])
        return self.threshold - entropy

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return how many times smaller the entropy is than the threshold, as a logarithm; see :meth:`margin`."""
        least = torch.finfo(logits.dtype).tiny  # below it, the deployed entropy is 0
        allowed = max(self.threshold, least) * math.log(logits.shape[-1])
        return same_sign(math.log(allowed) - log_entropy(logits[:, -1]), self.margin(logits))

    @override
    def describe(self) -> str:
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

    @override
    def margin(self, logits: Tensor) -> Tensor:
        recent = logits[:, -(self.patience + 1) :]
        best = recent.softmax(-1).topk(2, dim=-1)
        gap = (best.values[..., 0] - best.values[..., 1]).amin(1)
        if recent.shape[1] <= self.patience:
            return -1 - gap
        predictions = best.indices[..., 0]
        agrees = (predictions == predictions[:, :1]).all(1)
        return torch.where(agrees, gap, -gap - torch.finfo(gap.dtype).tiny)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return the lead in logits, at the exit where it is least, of the class that all come closest to agree on."""
        recent, margin = logits[:, -(self.patience + 1) :], self.margin(logits)
        if recent.shape[1] <= self.patience:
            return margin.detach()
        best = recent.topk(2, dim=-1)
        first, second = best.values[..., :1], best.values[..., 1:]
        is_first = torch.zeros_like(recent, dtype=torch.bool).scatter(-1, best.indices[..., :1], value=True)
        leads = recent - torch.where(is_first, second, first)
        return same_sign(leads.amin(1).amax(-1), margin)

    @override
    def describe(self) -> str:
        return f"{self.patience + 1} exits in a row agree"


def lead(logits: Tensor) -> Tensor:
    """Return the log-odds of the likeliest class, from logits ``[..., C]``: exact however sure the softmax is.

    >>> lead(torch.tensor([[0.0, 1000.0, 0.0]]))
    tensor([999.3068])
    """
    top = logits.max(-1, keepdim=True)
    others = logits.scatter(-1, top.indices, -torch.inf)
    return top.values.squeeze(-1) - others.logsumexp(-1)


def log_entropy(logits: Tensor) -> Tensor:
    """Return the logarithm of the entropy of the softmax of logits ``[..., C]``, exact however near to 0 that is.

    >>> log_entropy(torch.tensor([[0.0, 0.0], [0.0, 1000.0]])).int()
    tensor([   0, -993], dtype=torch.int32)
    """
    odds = lead(logits)
    log_p = logits - logits.logsumexp(-1, keepdim=True)
    top = log_p.argmax(-1, keepdim=True)
    surprise = torch.where(odds > LINEAR, -odds, F.softplus(-odds.clamp_max(LINEAR)).log())  # log(-log p) of the top
    others = log_p + (-log_p.scatter(-1, top, -1.0)).clamp_max(torch.finfo(log_p.dtype).max).log()
    terms = others.scatter(-1, top, log_p.gather(-1, top) + surprise.unsqueeze(-1))
    return terms.logsumexp(-1)


def same_sign(values: Tensor, margin: Tensor) -> Tensor:
    """Return ``values`` where they decide as ``margin`` does, else the nearest that does, with the gradient kept.

    Rounding may part the two at a threshold; what counts there is the deployed decision.
    """
    least = torch.finfo(values.dtype).tiny
    nearest = torch.where(margin >= 0, 0.0, -least).to(values)
    return torch.where((values >= 0) == (margin >= 0), values, nearest + (values - values.detach()))


@torch.no_grad()
def leave(
    stage: Callable[[int, Tensor], Tensor],
    heads: Sequence[Callable[[Tensor], Tensor]],
    rule: ExitRule,
    features: Tensor,
    width: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a batch whose rows leave: logits ``[B, C]``, exit indices ``[B]``, and each row's least gap to a threshold.

    Args:
        stage: runs the stage of a number on what the one before returned.
        heads: one per stage.
        rule: when rows leave.
        features: what enters the first stage, ``[B, ...]``.
        width: logits of a head.
    """
    count, device = len(features), features.device
    outputs = torch.empty(count, width, device=device)
    depth = torch.full((count,), len(heads) - 1, device=device)
    gaps = torch.full((count,), torch.inf, device=device)
    rows = torch.arange(count, device=device)
    history, gap = outputs.new_empty(count, 0, width), gaps
    for k, head in enumerate(heads[:-1]):
        features = stage(k, features)
        logits = head(features)
        history = torch.cat([history, logits.unsqueeze(1)], dim=1)
        margin = rule.margin(history)
        gap = torch.minimum(gap, margin.abs())  # NaN stays NaN
        leaves = margin >= 0
        if leaves.any():
            done = rows[leaves]
            outputs[done], depth[done], gaps[done] = logits[leaves], k, gap[leaves]
            if len(done) == len(rows):
                return outputs, depth, gaps
            stays = ~leaves
            rows, features, history, gap = rows[stays], features[stays], history[stays], gap[stays]
    outputs[rows] = heads[-1](stage(len(heads) - 1, features))
    gaps[rows] = gap
    return outputs, depth, gaps


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
