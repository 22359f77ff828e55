"""Small images for the toy targets, and the command line as a function."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NEEDLE, TUG = "torpor.targets.early_exit.toys:needle", "torpor.targets.early_exit.toys:tug"
SLOW = """
import time
import torch
from torpor.targets.early_exit.toys import WindowTarget

class Slow(WindowTarget):
    def signals(self, inputs):
        time.sleep(0.01 * torch.is_grad_enabled())
        return super().signals(inputs)

def target():
    return Slow([0.5, 0.5, 0.5], [0.2, 0.1, 0.04], name="slow")
"""
"""A module whose target takes its time while it is attacked."""


def write_images(
    folder: Path, *, test: int = 24, train: int = 60, side: int = 4, classes: int = 2, broken: int | None = None
) -> Path:
    """Write gray images of every brightness as test.parquet and train.parquet; cut test image ``broken`` short."""
    rng = np.random.default_rng(side)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("test", test), ("train", train)):
        rows = []
        for number in range(count):
            pixels = np.clip(rng.uniform(0, 255) + rng.uniform(-20, 20, (side, side)), 0, 255).astype(np.uint8)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            cut = split == "test" and number == broken
            rows.append({"image": {"bytes": content.getvalue()[: 50 if cut else None]}, "label": number % classes})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return folder


def call(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command in this process and return exit code, standard output and standard error; a crash is raised."""
    from torpor.cli.main import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["torpor", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return code, out.getvalue(), err.getvalue()


def command(*arguments: str | Path) -> list[str]:
    """Return the command line that runs torpor in a process of its own."""
    return [sys.executable, "-c", "from torpor.cli.main import main; main()", *map(str, arguments)]


def spawn(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder``."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def records(folder: Path) -> pa.Table:
    """Return all records of an audit."""
    return pq.read_table(folder / "records.parquet")
