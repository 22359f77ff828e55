"""How much memory a device has left, and how much this process has taken."""

from __future__ import annotations

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
GROUP = Path("/sys/fs/cgroup")


def free_memory(device: str | torch.device) -> int | None:
    """Return the bytes that could still be allocated on ``device``; None where unknown.

    On a CPU, what the system calls available, or less where a container has a limit; on a CUDA device what is free,
    with what PyTorch has reserved and does not use.

    >>> free = free_memory("cpu")
    >>> free is None or free > 0
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    found = [count for count in (_available(), _below_limit()) if count is not None]
    return min(found, default=None)


def peak_memory() -> int | None:
    """Return the most bytes that this process has had in memory at once; None where unknown.

    >>> peak = peak_memory()
    >>> peak is None or peak > 0
    True
    """
    return _entry(STATUS, "VmHWM:")


def _available() -> int | None:
    return _entry(MEMINFO, "MemAvailable:")


def _entry(file: Path, name: str) -> int | None:
    """Return the bytes that a line of ``file`` gives in kB."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
    except (OSError, ValueError, StopIteration):
        return None


def _below_limit() -> int | None:
    try:
        limit, used = ((GROUP / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return None
