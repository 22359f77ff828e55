"""Memory that is freed is kept, until it is handed back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

LAYERS = """
import resource
import torch
from torpor.core.allocator import keep_freed_memory

def layers():
    maps = [torch.zeros(2 << 20, dtype=torch.uint8) for _ in range(8)]

def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        layers()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
cleared()
print(cleared())
"""

BATCH = """
from pathlib import Path
import torch
from torpor.core.allocator import hand_back_freed_memory, keep_freed_memory

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

keep_freed_memory()
large, small = zip(*((torch.zeros(1 << 20, dtype=torch.uint8), torch.zeros(1 << 14)) for _ in range(100)))
del large
kept = resident()
hand_back_freed_memory()
print(kept - resident())
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")


@glibc
def test_what_lies_below_blocks_in_use_is_handed_back() -> None:
    ran = subprocess.run([sys.executable, "-c", BATCH], capture_output=True, text=True, check=True)
    assert float(ran.stdout) > 80  # of 100 MiB


@glibc
def test_pages_of_feature_maps_are_not_cleared_again_in_each_pass() -> None:
    ran = subprocess.run([sys.executable, "-c", LAYERS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 200  # of 80 maps of 512 pages
