"""(f) Does an audit's memory grow with the number of samples? ``python -m benchmarks.memory``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from benchmarks.common import Options, Row, command
from torpor.data.images import ImageSet
from torpor.targets.early_exit.toys import WindowTarget

GOAL = 1.05
SIDE = 32
FEW, MANY = 1000, 5000
ROOT = Path(__file__).resolve().parents[1]
CHILD = """
import resource, sys
sys.argv[0] = "torpor"
from torpor.cli.main import app
app(standalone_mode=False)
try:
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print("PEAK", peak)
"""


class Lazy(ImageSet):
    """Random images, each made when it is read."""

    name = "lazy"
    classes = ("0", "1")

    @override
    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        generator = torch.Generator().manual_seed(len(split))
        for _ in range(MANY if split == "test" else FEW):
            yield torch.randint(0, 256, (1, SIDE, SIDE), generator=generator, dtype=torch.uint8), 0


class LazyTarget(WindowTarget):
    """A toy target, so cheap that the audit itself is what is measured."""

    @override
    def data(self, folder: Path | None) -> ImageSet:
        return Lazy()


def build() -> LazyTarget:
    """Return the target; some of its samples leave early, others do not."""
    return LazyTarget([0.5, 0.5], [0.1, 0.002], side=SIDE, name="lazy")


def peak(samples: int, steps: int = 3) -> int:
    """Return the peak resident memory, in KiB, of a process that audits ``samples`` samples, report included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["audit", "benchmarks.memory:build", "--attacks", "deepsloth", "--steps", str(steps)]
        words += ["--limit", str(samples), "--out", f"{folder}/audit"]
        found = subprocess.run([sys.executable, "-c", CHILD, *words], cwd=ROOT, capture_output=True, text=True)
    if found.returncode != 0:
        raise RuntimeError(f"expected an audit, got exit code {found.returncode}: {found.stderr[-2000:]}")
    return int(found.stdout.rsplit("PEAK", 1)[1])


def memory(few: int, many: int, *, repeats: int = 2) -> Row:
    """Compare peaks; of each the least of ``repeats``, since other things only add."""
    low = min(peak(few) for _ in range(repeats))
    high = min(peak(many) for _ in range(repeats))
    note = f"{low / 1024:.0f} and {high / 1024:.0f} MiB"
    return Row(f"(f) peak memory of an audit, {many} / {few} samples", high / low, goal=GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare 5,000 samples with 1,000."""
    return [memory(FEW, MANY, repeats=2)]


if __name__ == "__main__":
    command(run)
