"""Memory: peak bytes of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class MemoryMeter(Protocol):
    """What can tell a call's peak bytes, or why it cannot."""

    @property
    def available(self) -> bool:
        """Whether this device's allocator keeps a peak counter."""

    @property
    def reason(self) -> str | None:
        """Why every answer is None; None if answers are numbers."""

    def measure(self, call: Callable[[], object]) -> int | None:
        """Run ``call`` once and return the most bytes that it held at a time, or None with a ``reason``."""


class NullMemoryMeter:
    """A device whose allocator keeps no peak counter.

    >>> meter = NullMemoryMeter("no counter on this device")
    >>> meter.available, meter.measure(lambda: None), meter.reason
    (False, None, 'no counter on this device')
    """

    available = False

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def measure(self, call: Callable[[], object]) -> int | None:
        """Return None; the call does not run."""
        return None


class CudaMemoryMeter:
    """Peak of PyTorch's allocator on one CUDA device, above what was allocated when the call began.

    Weights that are on the device already do not count; what the call returns does. The device's peak counter is reset.

    Args:
        device: a CUDA device.
    """

    available = True
    reason: str | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def measure(self, call: Callable[[], object]) -> int | None:
        """Run ``call`` once and return the most bytes that it held at a time."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        call()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before


def memory_meter(device: str | torch.device) -> MemoryMeter:
    """Return a meter for the device; where there is none, one with the reason.

    >>> memory_meter("cpu").reason
    "PyTorch's cpu allocator keeps no peak counter; audit on a cuda device for peak memory"
    """
    device = torch.device(device)
    if device.type == "cuda":
        return CudaMemoryMeter(device)
    return NullMemoryMeter(
        f"PyTorch's {device.type} allocator keeps no peak counter; audit on a cuda device for peak memory"
    )
