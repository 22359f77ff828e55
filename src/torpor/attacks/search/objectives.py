"""Objectives: signals to a loss per sample. Attacks minimize them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.search.optimizers import State
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals, GateSignals, StepSignals

EXITS = "exits"
"""What a target must offer for objectives that look at the class scores of its exits, or at their order."""

HALF = math.log(0.5)

SignalsT = TypeVar("SignalsT", GateSignals, StepSignals, CandidateSignals)


class IterateObjective(ABC, Generic[SignalsT]):
    """A loss to minimize that may change from iterate to iterate."""

    @abstractmethod
    def __call__(self, signals: SignalsT, step: int, state: State) -> Tensor:
        """Return the loss of each sample, ``[B]``.

        Args:
            signals: of the candidates.
            step: iteration of the attack, from 0.
            state: what the objective remembers, tensors ``[B, ...]``; shared with the optimizer.
        """

    def rank(self, signals: SignalsT, loss: Tensor) -> Tensor:
        """Return what ranks candidates of equal cost, ``[B]``, the least best: the loss, unless its meaning drifts."""
        return loss

    def guard(self, signals: SignalsT, step: int) -> Tensor | None:
        """Return a second loss ``[B]`` that no step may raise: what of the gradient would is projected off it."""
        return None


class Objective(Protocol):
    """A loss to minimize."""

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``; ``labels`` are class numbers ``[B]``."""


@dataclass(frozen=True, eq=False)
class Labeled(IterateObjective[GateSignals]):
    """A loss that looks at classes.

    Attributes:
        objective: the loss.
        labels: the class of each sample, int64 ``[B]``.
    """

    objective: Objective
    labels: Tensor

    @override
    def __call__(self, signals: GateSignals, step: int, state: State) -> Tensor:
        return self.objective(signals, state.setdefault("labels", self.labels))


@dataclass(frozen=True)
class UniformExits:
    """Push every internal classifier to the uniform distribution (DeepSloth, ICLR 2021).

    The loss is the sum over exits but the last of the cross-entropy between the uniform distribution and the softmax;
    its least value is ``log C`` per exit, which is subtracted.

    >>> import torch
    >>> flat = GateSignals(torch.zeros(1, 3, 4), torch.zeros(1, 2), None)
    >>> UniformExits()(flat, torch.tensor([0])).item()
    0.0
    """

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        internal = F.log_softmax(signals.exit_logits[:, :-1], dim=-1)
        return (-internal.mean(-1) - math.log(internal.shape[-1])).sum(1)


@dataclass(frozen=True)
class CloseGates:
    """Push open gates below their thresholds by ``slack``, those that come first the most (any exit rule).

    The loss is the sum of ``relu(margin + slack)``, each weighted by ``decay`` to the number of open gates before it.
    The plain sum, ``decay`` 1, gives one gate up where others gain more, though nothing runs after an exit that is
    taken; ``decay`` 0 closes the first open gate at the expense of all others. What lies between finds most.

    Attributes:
        slack: how far below, in what margins are measured in, log-odds for exit rules of this package; keeps the
            gradient alive at the threshold.
        decay: weight of a gate after an open one, from 0 to 1.

    >>> import torch
    >>> open_gates = GateSignals(torch.zeros(1, 4, 2), torch.tensor([[-1.0, 0.2, 0.6]]), None)
    >>> [round(CloseGates(0.1, decay)(open_gates, torch.tensor([0])).item(), 3) for decay in (1, 0.5, 0)]
    [1.0, 0.65, 0.3]
    """

    slack: float = 0.05
    decay: float = 1.0

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        opens = (signals.margins.detach() >= 0).to(signals.margins)
        return ((signals.margins + self.slack).relu() * self.decay ** (opens.cumsum(1) - opens)).sum(1)


@dataclass(frozen=True)
class PricedGates(CloseGates):
    """Push every gate below its threshold, each by the share of cost that it saves: what costs most comes first.

    >>> import torch
    >>> open_gates = GateSignals(None, torch.tensor([[0.1, 0.2]]), None, savings=torch.tensor([1.0, 3.0]))
    >>> round(PricedGates(0.0)(open_gates, torch.tensor([0])).item(), 3)  # 0.1 * 1 / 2 + 0.2 * 3 / 2
    0.35
    """

    @override
    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        return ((signals.margins + self.slack).relu() * prices(signals)).sum(1)


@dataclass(frozen=True)
class CostliestGate(CloseGates):
    """Push the open gate that saves most below its threshold, and keep there those that save more: cheap ones may open.

    >>> import torch
    >>> two_open = GateSignals(None, torch.tensor([[0.1, 0.2, -1.0]]), None, savings=torch.tensor([1.0, 3.0, 4.0]))
    >>> round(CostliestGate(0.0)(two_open, torch.tensor([0])).item(), 3)  # 0.2 * 3 / (8 / 3)
    0.225
    """

    @override
    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        price, margins = prices(signals), signals.margins.detach()
        first = torch.where(margins >= 0, price, -torch.inf).amax(1, keepdim=True)
        return ((signals.margins + self.slack).relu() * price * (price >= first)).sum(1)


@dataclass(frozen=True)
class NearestGate(CloseGates):
    """Push the open gate that is nearest to its threshold below it, and keep the closed ones there: one at a time.

    >>> import torch
    >>> two_open = GateSignals(None, torch.tensor([[0.1, 0.2, -1.0]]), None)
    >>> round(NearestGate(0.0)(two_open, torch.tensor([0])).item(), 3)
    0.1
    """

    @override
    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        margins = signals.margins.detach()
        nearest = torch.where(margins >= 0, margins, torch.inf).amin(1, keepdim=True)
        return ((signals.margins + self.slack).relu() * (margins <= nearest)).sum(1)


@dataclass(frozen=True)
class ExpectedCost:
    """Raise the cost that the target expects, or that gates which are open in proportion to their margins would give.

    Attributes:
        width: log-odds per unit of a margin, where the target expects nothing itself.

    >>> import torch
    >>> undecided = GateSignals(None, torch.tensor([[0.0, 0.0]]), None, savings=torch.tensor([1.0, 3.0]))
    >>> ExpectedCost()(undecided, torch.tensor([0])).tolist()  # half of each gate's saving, in units of the mean gate
    [1.0]
    >>> told = GateSignals(None, torch.zeros(1, 0), None, expected=torch.tensor([7.0]))
    >>> ExpectedCost()(told, torch.tensor([0])).tolist()
    [-7.0]
    """

    width: float = 1.0

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``: the negative of its cost, or what is saved of it."""
        if signals.expected is not None:
            return -signals.expected
        return ((self.width * signals.margins).sigmoid() * prices(signals)).sum(1)


def prices(signals: GateSignals) -> Tensor:
    """Return what each gate saves, in units of the mean gate, ``[G]``; 1 for all where signals do not tell."""
    if signals.savings is None:
        return torch.ones_like(signals.margins[0])
    return signals.savings.to(signals.margins) / signals.savings.to(signals.margins).mean()


@dataclass(frozen=True)
class WrongClass:
    """Raise the cross-entropy of the label: an accuracy attack, as a baseline.

    Attributes:
        exits: ``"final"`` classifier only (PGD), ``"avg"`` over all exits, or the ``"max"`` over exits.

    >>> import torch
    >>> flat = GateSignals(torch.zeros(1, 2, 2), torch.zeros(1, 1), None)
    >>> round(WrongClass("avg")(flat, torch.tensor([0])).item(), 3)
    -0.693
    """

    exits: Literal["final", "avg", "max"] = "final"

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        if self.exits == "final":
            return -F.cross_entropy(signals.exit_logits[:, -1], labels, reduction="none")
        target = labels.unsqueeze(1).expand(-1, signals.exit_logits.shape[1])
        losses = F.cross_entropy(signals.exit_logits.transpose(1, 2), target, reduction="none")
        return -(losses.mean(1) if self.exits == "avg" else losses.amax(1))


def running(signals: GateSignals) -> Tensor:
    """Return the log-odds that each unit runs, ``[B, G]``: what its gate lacks to save it.

    Raises:
        UsageError: if there are no gates.

    >>> import torch
    >>> running(GateSignals(None, torch.tensor([[-2.0]]), None)).tolist()
    [[2.0]]
    """
    if signals.margins.shape[1] == 0:
        raise UsageError("expected gates that save units, got work that follows the input by degrees; use standard")
    return -signals.margins


@dataclass(frozen=True)
class PowerLosses(IterateObjective[GateSignals]):
    """Lengths of vectors of probabilities, by powers: of those that closed gates lack, and of those open ones spare.

    ``-||min(p, 0.5)||`` is descended, with ``p`` the probability that a unit runs, and no step may raise
    ``||1 - max(p, 0.5)||``. They are computed from logarithms: ``p ** 50`` is zero in single precision.

    Attributes:
        closed: power of the first; in the first ``warm_up`` iterations it is 1, and so is the second.
        opened: power of the second.
        warm_up: iterations.

    >>> import torch
    >>> gates = GateSignals(None, torch.tensor([[-9.0, 0.0]]), None)
    >>> losses = PowerLosses(2.0, 1.0, 0)
    >>> round(losses(gates, 0, {}).item(), 3), round(losses.guard(gates, 0).item(), 3)  # of (.5, .5), of (0, .5)
    (-0.707, 0.5)
    """

    closed: float
    opened: float
    warm_up: int

    @override
    def __call__(self, signals: GateSignals, step: int, state: State) -> Tensor:
        return self._closed(signals, 1.0 if step < self.warm_up else self.closed)

    @override
    def guard(self, signals: GateSignals, step: int) -> Tensor | None:
        return length(F.logsigmoid(-running(signals)), 1.0 if step < self.warm_up else self.opened)

    @override
    def rank(self, signals: GateSignals, loss: Tensor) -> Tensor:
        return self._closed(signals, self.closed).detach()

    def _closed(self, signals: GateSignals, power: float) -> Tensor:
        return -length(F.logsigmoid(running(signals)), power)


def length(logs: Tensor, power: float) -> Tensor:
    """Return ``(sum v ** power) ** (1 / power)`` of the values that have these logarithms, at most one half each.

    Args:
        logs: ``[B, G]``.
        power: above 0.

    >>> import torch
    >>> round(length(torch.tensor([[0.3, 0.4]]).log(), 2).item(), 3)
    0.5
    """
    return ((logs.clamp_max(HALF) * power).logsumexp(1) / power).exp()
