"""Signals: the differentiable quantities that decide the work."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torpor.core.work import Work


@dataclass(frozen=True, eq=False)
class GateSignals:
    """Every gate of a target that may stop computing, evaluated as if none had.

    Attributes:
        logits: class scores at each exit, ``[B, K, C]``; the last exit is the end of the network. Differentiable.
        margins: how far each gate but the last is past its threshold, ``[B, K - 1]``; a gate with a margin of 0 or
            more stops the computation. Differentiable where the rule is.
        work: the work that :meth:`torpor.targets.Target.run` does on the same inputs, as these signals imply it.
    """

    logits: Tensor
    margins: Tensor
    work: Work
