"""``torpor study``: the evaluation of the USENIX Security 2025 study, run again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import DataDir, Limit, Seed


def study(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/study"),
    data_dir: DataDir = None,
    scale: Annotated[str, typer.Option(help="smoke (minutes) or full (hours).")] = "smoke",
    limit: Limit = None,
    seed: Seed = 0,
) -> None:
    """Run the study's targets, attacks and defenses again, and write study.html and study.md.

    Attackers are non-adaptive and adaptive.

    A study that was interrupted resumes when the same command is given again.
    """
    from torpor.cli.console import bar
    from torpor.cli.streams import say
    from torpor.core.errors import UsageError
    from torpor.study.cases import Scale
    from torpor.study.page import write_pages
    from torpor.study.run import run_study

    if scale not in list(Scale):
        raise UsageError(f"expected --scale {' or '.join(Scale)}, got {scale!r}")
    with bar() as progress:
        results = run_study(data_dir, out, Scale(scale), limit=limit, seed=seed, progress=progress)
    words = ["torpor", "study", "--scale", scale, "--seed", str(seed)]
    words += ["--data-dir", str(data_dir)] if data_dir else []
    words += ["--limit", str(limit)] if limit else []
    for path in write_pages(results, out, shlex.join(words)):
        say(f"Study: {path}")
