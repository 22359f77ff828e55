"""Memory that is freed is kept for the next layer: the system need not clear the same pages again in each."""

from __future__ import annotations

from functools import cache

import torch

LARGEST = (32 << 20) - (1 << 16)
"""Bytes of the largest block that the C library of Linux, glibc, learns from: a little below 32 MiB."""


@cache
def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB of what it frees.

    glibc hands large blocks back to the system as they are freed, and the top of the heap, too, so that every feature
    map of some MiB is cleared page by page when it is next written to. What it calls large grows with the largest block
    that was freed so far (``M_MMAP_THRESHOLD`` in mallopt(3), up to 32 MiB), and what it keeps at the top is twice
    that. So one such block is freed here, which is never written to. Elsewhere, or where the environment sets the
    thresholds, this changes nothing. No result depends on it.

    >>> keep_freed_memory()
    """
    torch.empty(LARGEST, dtype=torch.uint8)  # freed at once
