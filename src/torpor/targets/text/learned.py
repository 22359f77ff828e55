"""Learned to exit: a rule that asks a classifier of its own whether a layer's prediction is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.targets.early_exit.exit_rules import ExitRule, parse_rule, same_sign

LEARNED = "learned"


@dataclass(frozen=True)
class LearnedToExit(ExitRule):
    """Leave when a learned classifier is so sure that the exit is right (BERxiT, Xin et al., EACL 2021).

    What it says is the last of the logits, after those of the classes; see :class:`WithCertainty`.

    Attributes:
        threshold: of its sigmoid.

    >>> LearnedToExit(0.9).margin(torch.tensor([[[5.0, 0.0, 9.0]], [[5.0, 0.0, 0.0]]])) >= 0
    tensor([ True, False])
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"expected a threshold of certainty in (0, 1), got {self.threshold}")

    @override
    def margin(self, logits: Tensor) -> Tensor:
        return logits[:, -1, -1].sigmoid() - self.threshold

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return the log-odds of certainty less those of the threshold; see :meth:`ExitRule.log_odds`."""
        edge = math.log(self.threshold) - math.log1p(-self.threshold)
        return same_sign(logits[:, -1, -1] - edge, self.margin(logits))

    @override
    def describe(self) -> str:
        return f"learned certainty >= {self.threshold:g}"


class WithCertainty(nn.Module):
    """A head that adds a logit of certainty ``[B, 1]`` to those of the classes ``[B, C]``.

    Args:
        head: of the classes.
        certainty: tells from the same tokens how sure they may be.
    """

    def __init__(self, head: nn.Module, certainty: nn.Module) -> None:
        super().__init__()
        self.head, self.certainty = head, certainty

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat([self.head(tokens), self.certainty(tokens)], -1)


def read_rule(rule: ExitRule | str, named: Mapping[str, ExitRule]) -> ExitRule:
    """Return a rule as it is, by its name, or as it reads, such as ``"entropy:0.3"`` or ``"learned:0.9"``.

    Raises:
        UsageError: if it is none of these.

    >>> read_rule("learned:0.9", {})
    LearnedToExit(threshold=0.9)
    """
    if isinstance(rule, ExitRule):
        return rule
    if rule in named:
        return named[rule]
    kind, _, threshold = rule.partition(":")
    if kind == "drop":
        raise UsageError(f"expected a named rule ({', '.join(named) or 'there is none'}), got {rule!r}")
    if kind != LEARNED:
        return parse_rule(rule)
    try:
        return LearnedToExit(float(threshold))
    except ValueError as error:
        raise UsageError(f"expected {LEARNED}:THRESHOLD, such as {LEARNED}:0.9, got {rule!r}") from error
