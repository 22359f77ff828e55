"""Units: the pieces of computation whose counts are a sample's work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torpor.core.errors import UsageError

STEP = "decoder_step"
"""Name of the unit that runs once per generated token."""


class Behavior(StrEnum):
    """What an input can move, after the USENIX Security 2025 study of dynamic deep-learning systems."""

    COMPUTATION = "D1"
    """Computation within one inference: early exit, layer skipping, token pruning, expert routing."""
    ITERATION = "D2"
    """Number of iterations of one inference: decoding until an end token, adaptive solvers."""
    OUTPUT = "D3"
    """Number of outputs handed downstream: candidate boxes, tracks."""


@dataclass(frozen=True)
class Unit:
    """A piece of computation that runs a countable number of times per sample.

    Attributes:
        name: unique within its target.
        flops: floating-point operations of one run, two per multiply-add; None where they are unknown, as of a model
            behind an endpoint: then the target has prices of its own, see :meth:`torpor.targets.Target.price`.
        stage: the part of a pipeline that it belongs to; empty for targets that are one.

    >>> Unit("exit0", flops=1000)
    Unit(name='exit0', flops=1000, stage='')
    """

    name: str
    flops: int | None
    stage: str = ""

    def __post_init__(self) -> None:
        if self.flops is not None and self.flops < 0:
            raise UsageError(f"expected a unit's FLOPs to be 0 or more, got {self.flops} for {self.name!r}")
