"""Write the table: ``python -m benchmarks.strength [--data-dir FOLDER] [--quick] [ROWS ...]``.

One or more rows for each architecture of the zoo, on samples of the test split that nothing was tuned on. Each finished
row is saved, so that the command resumes where it was stopped. With ``--cards`` the rows
go into the cards of the zoo, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.saved import saved_rows
from benchmarks.strength.cards import publish
from benchmarks.strength.cases import CASES, Case
from benchmarks.strength.measure import measure
from benchmarks.strength.row import Strength
from benchmarks.strength.table import table

SAVED = Path("runs/strength")
QUICK = 2
"""Samples of each row of a quick table."""


def chosen(rows: Sequence[str], *, quick: bool) -> list[Case]:
    """Return the cases that the command line names: by target, or by target and budget; all of them by default.

    >>> [case.name for case in chosen(["speller/3-chars", "detector-scenes"], quick=False)]
    ['speller/3-chars', 'detector-scenes/Linf-8of255']
    """
    known = {name for case in CASES for name in (case.shown, case.name)}
    if unknown := sorted(set(rows) - known):
        raise SystemExit(f"expected rows among {', '.join(case.name for case in CASES)}, got {', '.join(unknown)}")
    named = [case for case in CASES if not rows or case.shown in rows or case.name in rows]
    return [case for case in named if case.quick] if quick and not rows else named


def rows_of(case: Case, count: int | None, folder: Path | None, saved: Path) -> list[Strength]:
    """Return the rows of a case: those that were saved for as many samples, else measured now and saved."""
    rows = saved_rows(
        saved, case.name, count or case.count, lambda: [row.to_json() for row in measure(case, count, folder)]
    )
    return [Strength.of(row) for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROWS", help="targets, or rows such as speller/3-chars; all if none")
    parser.add_argument("--data-dir", type=Path, help="folder with subfolders cifar10, fsdd and multi30k")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} samples a row, and few rows")
    parser.add_argument("--samples", type=int, help="samples per row; each row's own number by default")
    parser.add_argument("--saved", type=Path, default=SAVED, help=f"folder of finished rows (default: {SAVED})")
    parser.add_argument("--cards", action="store_true", help="show these rows in the cards of the zoo from now on")
    given = parser.parse_args(arguments)
    found = []
    for case in chosen(given.rows, quick=given.quick):
        if case.data is not None and given.data_dir is None:
            print(f"{case.name} is left out: it needs --data-dir", file=sys.stderr)
            continue
        count = given.samples or (QUICK if given.quick else None)
        found += rows_of(case, count, given.data_dir, given.saved)
    if given.cards:
        publish(found)
    print(table(found))
    print(f"\n{sum({(row.target, row.budget): row.seconds for row in found}.values()) / 60:.0f} CPU-minutes.")


if __name__ == "__main__":
    main()
