"""Signals: the differentiable quantities that decide the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.work import Work

SETTLED = 0.01
"""By how much every decision must be won for the work to count as settled: 8-bit rounding must not undo it."""


class Signals(Protocol):
    """What :meth:`torpor.targets.Target.signals` returns, whatever else a family's own kind holds: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def work(self) -> Work:
        """The work that :meth:`torpor.targets.Target.run` does; a row for each row of the signals."""

    @property
    def alarm(self) -> Tensor | None:
        """How far each row is above a detector's threshold, ``[B]``, differentiable; None if nothing looks."""

    @property
    def rows(self) -> Tensor | None:
        """Which sample each row belongs to, int64 ``[R]``, as frames to a video; None: each row is a sample."""

    def settled(self) -> Tensor:
        """Tell for which rows every decision is won by more than :data:`SETTLED`, bool ``[B]``."""


@dataclass(frozen=True, eq=False)
class GateSignals:
    """Every gate of a target that may save computation, evaluated as if none had.

    Attributes:
        logits: class scores at each exit, ``[B, K, C]``; the last exit is the end of the network. Differentiable. None
            if gates are not exits, such as those that skip layers.
        margins: how far each gate is past its threshold, ``[B, G]``; a gate with a margin of 0 or more saves its unit.
            An exit is a gate that saves all after it, and the last exit has none: ``G = K - 1``. Differentiable where
            the rule is.
        work: the work that :meth:`torpor.targets.Target.run` does on the same inputs, as these signals imply it.
        alarm: how far each sample is above the threshold of a detector, ``[B]``, differentiable; rejected above 0. None
            if nothing looks.
        rows: see :class:`Signals`.
        savings: FLOPs that each gate saves where it is past its threshold, ``[G]``; None if they save alike, or if what
            one saves depends on the others, as with exits.
        expected: an estimate of each sample's cost, ``[B]``, differentiable, in whatever scale; None where margins tell
            enough. Mechanisms without gates, such as those that skip zeros, have it and no margins: ``G = 0``.
    """

    logits: Tensor | None
    margins: Tensor
    work: Work
    alarm: Tensor | None = None
    rows: Tensor | None = None
    savings: Tensor | None = None
    expected: Tensor | None = None

    @property
    def exit_logits(self) -> Tensor:
        """The class scores at each exit, ``[B, K, C]``.

        Raises:
            UsageError: if there are no exits.
        """
        if self.logits is None:
            raise UsageError("expected the class scores of exits, got gates without; use what goes by their margins")
        return self.logits

    def settled(self) -> Tensor:
        """Tell for which samples every gate is closed by more than ``SETTLED``, bool ``[B]``; none without gates."""
        if self.margins.shape[1] == 0:
            return torch.zeros(len(self.margins), dtype=torch.bool, device=self.margins.device)
        return self.margins.detach().amax(1) < -SETTLED


@dataclass(frozen=True, eq=False)
class TextGateSignals(GateSignals):
    """Every gate of a target that reads texts.

    Attributes:
        embeddings: input embeddings ``[B, P, D]``, a leaf to differentiate with respect to.
        input_ids: input tokens, int64 ``[B, P]``.
        input_mask: which of them are the text's own, neither padding nor special, bool ``[B, P]``.
        scores: class scores of the output, ``[B, C]``, differentiable; None where they are those of exits.
    """

    embeddings: Tensor | None = None
    input_ids: Tensor | None = None
    input_mask: Tensor | None = None
    scores: Tensor | None = None


@dataclass(frozen=True, eq=False)
class StepSignals:
    """Every step of a decoder along the sequence that the target really generates, teacher-forced.

    The sequence is decoded first, without gradients and as deployed; one forward pass over it then gives all steps at
    once, with the same logits as step-by-step decoding.

    Attributes:
        logits: scores of the next token before any processing, ``[B, T, V]``. Differentiable.
        ids: tokens that were generated, end token included, int64 ``[B, T]``; anything outside ``mask``.
        mask: the steps that each sample ran, bool ``[B, T]``.
        eos: ids of the tokens that end the sequence.
        work: the work that :meth:`torpor.targets.Target.run` does on the same inputs.
        hidden: the decoder's last hidden state at each step, ``[B, T, D]``, differentiable; None where there is none.
        embeddings: input embeddings ``[B, P, D]``, a leaf to differentiate with respect to, for texts; else None.
        input_ids: input tokens, int64 ``[B, P]``, for texts; else None.
        input_mask: which of them are the text's own, neither padding nor special, bool ``[B, P]``, for texts.
        alarm: see :class:`GateSignals`.
        rows: see :class:`Signals`.
        norms: the norm of the hidden states of each step, averaged over layers, ``[B, T]``, differentiable; None where
            it is not known.
    """

    logits: Tensor
    ids: Tensor
    mask: Tensor
    eos: tuple[int, ...]
    work: Work
    hidden: Tensor | None = None
    embeddings: Tensor | None = None
    input_ids: Tensor | None = None
    input_mask: Tensor | None = None
    alarm: Tensor | None = None
    rows: Tensor | None = None
    norms: Tensor | None = None

    def settled(self) -> Tensor:
        """Tell for which samples every generated token scores more than ``SETTLED`` above all others, bool ``[B]``."""
        logits, ids = self.logits.detach(), self.ids.unsqueeze(-1)
        ahead = logits.gather(-1, ids).squeeze(-1) - logits.scatter(-1, ids, -torch.inf).amax(-1)
        return ((ahead > SETTLED) | ~self.mask).all(1)


@dataclass(frozen=True, eq=False)
class CandidateSignals:
    """Every box that a detector proposes, before any threshold.

    Attributes:
        boxes: ``[B, N, 4]``: left, top, right, bottom, in pixels. Differentiable.
        scores: of each class, ``[B, N, C]``, from 0 to 1. Differentiable.
        work: the work that :meth:`torpor.targets.Target.run` does on the same images.
        alarm: see :class:`GateSignals`.
        rows: see :class:`Signals`.
    """

    boxes: Tensor
    scores: Tensor
    work: Work
    alarm: Tensor | None = None
    rows: Tensor | None = None

    def settled(self) -> Tensor:
        """Return False for every sample, bool ``[B]``: below the caps, there is always a box to win."""
        return torch.zeros(len(self.scores), dtype=torch.bool, device=self.scores.device)


def allowed(signals: Signals) -> Tensor:
    """Tell which rows no detector rejects, bool ``[B]``."""
    alarm = signals.work.counts.new_zeros(len(signals.work)) if signals.alarm is None else signals.alarm.detach()
    return alarm <= 0


REJECTED = 1e6
"""Added to the alarm of what is rejected, so that any accepted candidate is better."""


def evading(signals: Signals, losses: Tensor) -> Tensor:
    """Return what an adaptive attacker minimizes, ``[B]``: the detector's alarm where it is above 0, else ``losses``.

    Descent on one of the two at a time needs no weight between them (Bryniarski et al., ICLR 2022). An alarm without a
    gradient gives no direction: then the losses alone are followed, and what is rejected is not kept.

    >>> work, alarm = Work(torch.ones(2, 1, dtype=torch.int64)), torch.tensor([3.0, -1.0], requires_grad=True)
    >>> signals = GateSignals(torch.zeros(2, 1, 1), torch.zeros(2, 0), work, alarm)
    >>> evading(signals, torch.tensor([7.0, 7.0])).tolist()
    [1000003.0, 7.0]
    """
    alarm = signals.alarm
    if alarm is None or (losses.requires_grad and not alarm.requires_grad):
        return losses
    return torch.where(alarm > 0, alarm + REJECTED, losses)


def single(values: Tensor) -> Tensor:
    """Return values of half precision in single precision, for sums and ranks that half would round away; others as is.

    >>> single(torch.ones(1, dtype=torch.bfloat16)).dtype, single(torch.ones(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
