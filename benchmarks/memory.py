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
FEW_TEXTS, MANY_TEXTS = 100, 1000
QUERIES = 20
"""Texts that each search asks about."""
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


def peak(*audit: str) -> int:
    """Return the peak resident memory, in KiB, of a process that runs an audit, report included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["audit", *audit, "--executor", "local", "--out", f"{folder}/audit"]  # workers would not be measured
        found = subprocess.run([sys.executable, "-c", CHILD, *words], cwd=ROOT, capture_output=True, text=True)
    if found.returncode != 0:
        raise RuntimeError(f"expected an audit, got exit code {found.returncode}: {found.stderr[-2000:]}")
    return int(found.stdout.rsplit("PEAK", 1)[1])


def memory(few: int, many: int, *, repeats: int = 2) -> Row:
    """Compare peaks on images; of each the least of ``repeats``, since other things only add."""
    audit = ("benchmarks.memory:build", "--attacks", "deepsloth", "--steps", "3", "--limit")
    low, high = (min(peak(*audit, str(samples)) for _ in range(repeats)) for samples in (few, many))
    return row(f"{many} / {few} images", low, high)


def texts(few: int, many: int) -> Row:
    """Compare peaks on texts that ``speller`` reads."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.txt"
        prompts.write_text("".join(f"open file {number:04d} on {number % 7}\n" for number in range(many)))
        audit = ("speller", "--inputs", str(prompts), "--attacks", f"llmeffichecker-char:queries={QUERIES}", "--limit")
        low, high = (peak(*audit, str(samples)) for samples in (few, many))
    return row(f"{many} / {few} texts", low, high)


def row(compared: str, low: int, high: int) -> Row:
    """Return a row of two peaks in KiB."""
    note = f"{low / 1024:.0f} and {high / 1024:.0f} MiB"
    return Row(f"(f) peak memory of an audit, {compared}", high / low, goal=GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare 5,000 images with 1,000, and 1,000 texts with 100."""
    return [memory(FEW, MANY), texts(FEW_TEXTS, MANY_TEXTS)]


if __name__ == "__main__":
    command(run)
