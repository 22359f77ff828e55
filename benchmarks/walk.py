"""(p) How many files of torpor does each phase of one image's way need? ``python -m benchmarks.walk``.

Each phase runs in an interpreter of its own, with what phases before it left on disk, so its count is what it needs by
itself: a later phase does not come cheap because an earlier one has opened its files.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.imports import Importers

TARGET, ATTACK, GATE = "sdn-digits", "standard", "p95(slowdown) < 1000"
VERDICTS = (0, 10, 11)
"""Exit codes of a gate that was judged: passed, failed, inconclusive."""


def load_target(folder: Path) -> Any:  # noqa: ANN401 - naming the type would import it
    """Load the target."""
    import torpor

    return torpor.load_target(TARGET)


def clean_run(folder: Path) -> None:
    """Load the target, and run its first image."""
    target = load_target(folder)
    target.run(target.read(target.data(None).load("test", 1).inputs))


def attack(folder: Path) -> None:
    """Load the target, and attack its first image."""
    import torpor

    target = load_target(folder)
    torpor.load_attack(ATTACK)(target, target.read(target.data(None).load("test", 1).inputs))


def records(folder: Path) -> None:
    """Audit the first image, as ``torpor audit`` does, up to the records and the summary."""
    from torpor.audits.request import request

    request(TARGET, ATTACK, limit=1).run(folder / "audit")


def report(folder: Path) -> None:
    """Read the audit, and write its HTML report."""
    from torpor.reports.html import write_report

    write_report(folder / "audit")


def gate(folder: Path) -> None:
    """Read the audit, and hold a gate against it: ``torpor check``."""
    from torpor.cli.main import main

    sys.argv = ["torpor", "check", str(folder / "audit"), GATE]
    try:
        main()
    except SystemExit as ended:
        if ended.code not in VERDICTS:
            raise RuntimeError(f"expected a verdict, got exit code {ended.code}") from ended


PHASES: tuple[Callable[[Path], object], ...] = (load_target, clean_run, attack, records, report, gate)


def opened(phase: Callable[[Path], object], folder: Path) -> set[str]:
    """Return the modules of torpor that a phase opens; call it where none is loaded yet."""
    importers = Importers()
    sys.meta_path.insert(0, importers)
    with contextlib.redirect_stdout(io.StringIO()):
        phase(folder)
    return set(importers.known)


def walk() -> dict[str, set[str]]:
    """Return the modules that each phase opens, by its name."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for phase in PHASES:
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                found[phase.__name__] = fresh.apply(opened, (phase, Path(folder)))
    return found


def main() -> None:
    """Print the number of files of each phase, and of all together."""
    found = walk()
    for name, files in found.items():
        print(f"{name.replace('_', ' ')}: {len(files)} files of torpor")
    print(f"together: {len(set().union(*found.values()))}")


if __name__ == "__main__":
    main()
