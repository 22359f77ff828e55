"""How near a text is to closing a gate: the loss that guides searches whatever the mechanism."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.attacks.search.objectives import CloseGates, ExpectedCost
from torpor.core.signals import GateSignals

DECAY = 0.5
"""Weight of an exit after an open one, over that of the open one."""


def open_gates(signals: GateSignals) -> Tensor:
    """Return what is to be minimized, ``[B]``: margins of exits that are open, or the negative of the expected cost.

    >>> from torpor.core.work import Work
    >>> work = Work(torch.ones(1, 1, dtype=torch.int64))
    >>> round(open_gates(GateSignals(torch.zeros(1, 3, 2), torch.tensor([[1.0, 2.0]]), work)).item(), 3)
    2.075
    """
    objective = CloseGates(decay=DECAY) if signals.expected is None else ExpectedCost()
    return objective(signals, torch.zeros(len(signals.margins), dtype=torch.int64))
