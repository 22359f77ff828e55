"""Write the table: ``python -m benchmarks.mechanisms [--data-dir FOLDER] [--limit N] [MECHANISM ...]``.

Each module beside this one measures one mechanism by its papers' own metrics, with controls beside. Finished mechanisms
are saved, so that the command resumes where it was stopped. Those with ``PARTS`` are saved part by part, and parts can
be named, as in ``tokens:avit-cifar10-linf``. With ``--cards`` rows go into the cards of the zoo, too.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import benchmarks.mechanisms as package
from benchmarks.mechanisms.cards import publish
from benchmarks.mechanisms.row import Row
from benchmarks.saved import saved_rows

SAVED = Path("runs/mechanisms")
HEADS = ("target", "attack", "budget", "metric", "ours", "published", "passes", "n")
NOT_MECHANISMS = ("__main__", "cards", "row")


def mechanisms() -> tuple[str, ...]:
    """Return the names of all mechanisms that are measured."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if name not in NOT_MECHANISMS and not name.startswith("_")))


def known() -> dict[str, tuple[str, ...]]:
    """Return the parts of each mechanism, ``mechanism`` or ``mechanism:part``, by its name and by their own."""
    found = dict[str, tuple[str, ...]]()
    for name in mechanisms():
        parts: Sequence[str] = getattr(import_module(f"benchmarks.mechanisms.{name}"), "PARTS", ())
        found[name] = tuple(f"{name}:{part}" for part in parts) or (name,)
        found |= {each: (each,) for each in found[name]}
    return found


def rows_of(name: str, limit: int, folder: Path | None, saved: Path) -> list[Row]:
    """Return the rows of a mechanism or of a part: those saved for as many samples, else measured now and saved."""
    mechanism, *own = name.split(":")
    module = import_module(f"benchmarks.mechanisms.{mechanism}")
    rows = saved_rows(saved, name, limit, lambda: [asdict(row) for row in module.rows(limit, folder, *own)])
    if not rows:
        print(f"{name} is left out: its data or weights are not here; pass --data-dir", file=sys.stderr)
    return [Row(**row) for row in rows]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table.

    >>> print(table([Row("toy", "ilfo", "Linf 0.1", "recovery, %", 93.456, "100 %", 300.0, 8)]))
    | target | attack | budget | metric | ours | published | passes | n |
    |---|---|---|---|---|---|---|---|
    | toy | ilfo | Linf 0.1 | recovery, % | 93.5 | 100 % | 300 | 8 |
    """
    lines = [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    lines += [
        f"| {row.target} | {row.attack} | {row.budget} | {row.metric} | {row.ours:,.4g} | {row.theirs} "
        f"| {row.passes:,.0f} | {row.count} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MECHANISM", help="all of them if none")
    parser.add_argument("--data-dir", type=Path, help="folder with the subfolder cifar10")
    parser.add_argument("--limit", type=int, default=32, help="samples per row (default: 32)")
    parser.add_argument("--saved", type=Path, default=SAVED, help=f"folder of finished mechanisms (default: {SAVED})")
    parser.add_argument("--cards", action="store_true", help="show these rows in the cards of the zoo from now on")
    given = parser.parse_args(arguments)
    names = known()
    if unknown := sorted(set(given.names) - set(names)):
        raise SystemExit(f"expected mechanisms among {', '.join(names)}, got {', '.join(unknown)}")
    parts = dict.fromkeys(part for name in given.names or mechanisms() for part in names[name])
    found = [row for part in parts for row in rows_of(part, given.limit, given.data_dir, given.saved)]
    if given.cards:
        publish(found)
    print(table(found))


if __name__ == "__main__":
    main()
