"""Cascades: a small classifier first, a larger one where it is not sure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from torpor.data.sets import DataSet
from torpor.targets.early_exit.exit_rules import ExitRule
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget


class CascadeTarget(EarlyExitTarget):
    """Classifiers that are asked one after the other until one of them is sure.

    Each looks at the image itself, so that this is an early-exit network whose stages pass the image on and whose heads
    are whole classifiers. Unit ``exit<k>`` is classifier ``k``; a sample that reaches it has paid for those before.

    Args:
        classifiers: two or more, each maps images ``[B, C, H, W]`` to logits ``[B, classes]``; the cheapest first.
        rule: when an answer is taken; the last classifier's always is.
        input_shape: ``(C, H, W)`` of one image.
        name: shown in reports.
        device: where to run.
        data: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.
        named_rules: other rules that users may choose by name.

    Raises:
        UsageError: if there are fewer than two, or one does not return logits ``[B, classes]``.
        MeterError: if an operator's FLOPs cannot be counted.

    >>> import torch
    >>> from torpor.targets import Confidence
    >>> small, large = (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(2))
    >>> target = CascadeTarget([small, large], Confidence(1.0), input_shape=(1, 2, 2))
    >>> target.run(torch.zeros(1, 1, 2, 2)).work.counts.tolist()
    [[1, 1]]
    """

    mechanism = "cascade"
    samples = 128

    def __init__(
        self,
        classifiers: Sequence[nn.Module],
        rule: ExitRule,
        *,
        input_shape: tuple[int, int, int],
        name: str = "cascade",
        device: str = "cpu",
        data: Callable[[Path | None], DataSet] | None = None,
        named_rules: Mapping[str, ExitRule] | None = None,
    ) -> None:
        super().__init__(
            chained(classifiers),
            rule,
            input_shape=input_shape,
            name=name,
            device=device,
            data=data,
            named_rules=named_rules,
        )


def chained(classifiers: Sequence[nn.Module]) -> ShallowDeepNetwork:
    """Return classifiers as a multi-exit network: every stage passes the image on, every head is one of them."""
    return ShallowDeepNetwork([nn.Identity() for _ in classifiers], classifiers)
