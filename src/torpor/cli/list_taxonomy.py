"""``torpor list taxonomy``: published attacks and defenses, filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from torpor.taxonomy import Entry

WIDE = 110
"""Columns of a terminal from which on every field has a column of its own."""


def print_taxonomy(
    *,
    kind: str | None = None,
    behavior: str | None = None,
    mechanism: str | None = None,
    stage: str | None = None,
    access: str | None = None,
    implemented: bool | None = None,
    as_json: bool = False,
) -> None:
    """Print the entries that match every given filter, as a table or as JSON.

    Args:
        kind: ``"attack"`` or ``"defense"``.
        behavior: ``"D1"``, ``"D2"`` or ``"D3"``.
        mechanism: part of the mechanism, in any case.
        stage: when the attacker acts, such as ``"evasion"``.
        access: what the attacker sees, such as ``"white"``.
        implemented: whether torpor implements it; both if None.
        as_json: print one JSON document and nothing else.

    Raises:
        UsageError: on a word that a filter does not know.

    >>> print_taxonomy(behavior="D1", implemented=True, stage="universal", as_json=True)  # doctest: +ELLIPSIS
    {
      "schema": "torpor.taxonomy/2",
      ...
    }
    """
    from torpor.cli.streams import print_json
    from torpor.taxonomy.load import SCHEMA, filter_entries, load_entries, load_mechanisms, load_versions

    every = load_entries()
    found = filter_entries(
        every,
        kind=kind,
        behavior=behavior,
        mechanism=mechanism,
        stage=stage,
        access=access,
        implemented=implemented,
    )
    versions = dict(load_versions())
    if as_json:
        document = {
            "schema": SCHEMA,
            "versions": versions,
            "mechanisms": [asdict(mechanism) for mechanism in load_mechanisms()],
            "entries": [entry.as_dict() for entry in found],
        }
        print_json(document, indent=2)
        return
    _print(found, len(every), versions)


def _print(found: Sequence[Entry], total: int, versions: dict[str, str | None]) -> None:
    from torpor.cli.console import SafeConsole
    from torpor.cli.streams import say

    console = SafeConsole(columns=0)
    if found:
        console.print(_wide(found) if console.width >= WIDE else _narrow(found))
    done = sum(entry.implemented for entry in found)
    words = ", ".join(f"{name} {version or 'unknown'}" for name, version in versions.items())
    say(f"{len(found)} of {total} entries, {done} of them implemented by torpor")
    say(f"tags (in --json): {words}")


def _wide(found: Sequence[Entry]) -> Table:
    table = _table(("key", "kind", "moves", "mechanism", "stage", "access", "published", "torpor id"))
    for entry in found:
        _add(
            table,
            entry.key,
            entry.kind,
            _moves(entry),
            entry.mechanism,
            ", ".join(entry.stages),
            ", ".join(entry.access) or "unknown",
            _published(entry),
            entry.status,
        )
    return table


def _narrow(found: Sequence[Entry]) -> Table:
    table = _table(("key", "what is known"), lines=True)
    for entry in found:
        access = ", ".join(entry.access) or "unknown"
        what = (
            f"{entry.kind}, {_moves(entry)} {entry.mechanism}\n"
            f"{', '.join(entry.stages)}; access: {access}\n"
            f"{_published(entry)}\n"
            f"torpor: {entry.status}"
        )
        _add(table, entry.key, what)
    return table


def _table(names: Sequence[str], *, lines: bool = False) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_lines=lines)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))


def _moves(entry: Entry) -> str:
    return "/".join(entry.behaviors) or "-"


def _published(entry: Entry) -> str:
    return " ".join(part for part in (entry.paper.where, entry.paper.identifier) if part)
