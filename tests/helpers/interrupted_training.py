"""Training that is interrupted after some steps, and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from torpor.data.images import Digits
from torpor.data.sets import Batch
from torpor.training.loop import Progress, silent


class InterruptionError(Exception):
    pass


def stop_when(over: Callable[[int], bool]) -> Progress:
    """Return a callback that interrupts the training when ``over`` says so of the steps done."""

    def progress(done: int, total: int, loss: float) -> None:
        if over(done):
            raise InterruptionError

    return progress


def stop_after(steps: int) -> Progress:
    """Return a callback that interrupts the training after so many steps."""
    return stop_when(lambda done: done > steps)


def check_resumed_bits(fit: Callable[[Batch, Path, Progress], nn.Module], folder: Path) -> None:
    """Assert that two epochs on 48 digits end with the same bits if they are interrupted after the first.

    Args:
        fit: trains in batches of 4 from data and a checkpoint.
        folder: of the checkpoints.
    """
    data = Digits().load("train", 48)  # 12 steps an epoch
    whole = fit(data, folder / "whole", silent).state_dict()
    with pytest.raises(InterruptionError):
        fit(data, folder / "part", stop_after(12))
    torch.manual_seed(123)  # the state of the global generator must not matter
    again = fit(data, folder / "part", silent).state_dict()
    assert all(value.equal(whole[name]) for name, value in again.items())
