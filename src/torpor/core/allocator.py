"""Memory that is freed is kept for the next layer, and handed back to the system now and then."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import torch

LARGEST = (32 << 20) - (1 << 16)
"""Bytes of the largest block that the C library of Linux, glibc, learns from: a little below 32 MiB."""


@cache
def keep_freed_memory() -> None:
    """Let this process keep what it frees: the system need not clear the same pages again for each layer.

    glibc hands large blocks back to the system as they are freed, and the top of the heap, too, so that every feature
    map of some MiB is cleared page by page when it is next written to. What it calls large grows with the largest block
    that was freed so far (``M_MMAP_THRESHOLD`` in mallopt(3), up to 32 MiB), and what it keeps at the top is twice
    that, besides whatever lies below a block in use. So one such block is freed here, which is never written to.
    Elsewhere, or where the environment sets the thresholds, this changes nothing. No result depends on it.

    >>> keep_freed_memory()
    """
    torch.empty(LARGEST, dtype=torch.uint8)  # freed at once


def hand_back_freed_memory() -> None:
    """Hand what this process has freed back to the system, wherever it lies: between batches, not between layers.

    What is kept otherwise grows for as long as a process lives, since small blocks that stay come to lie above large
    ones that were freed. Only glibc has this (malloc_trim(3)); elsewhere nothing happens. No result depends on it.

    >>> hand_back_freed_memory()
    """
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    """Return glibc's function, or one that does nothing."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or a system without one to ask
        return lambda pad: None
    found.argtypes = (ctypes.c_size_t,)
    return found
