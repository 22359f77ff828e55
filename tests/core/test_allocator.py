"""Memory that is freed is kept."""

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_pages_of_feature_maps_are_not_cleared_again_in_each_pass() -> None:
    ran = subprocess.run([sys.executable, "-c", LAYERS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 200  # of 80 maps of 512 pages
