"""Rows that a long command measured before, so that it goes on where it was stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[dict[str, Any]]


def saved_rows(folder: Path, name: str, count: int | None, measure: Callable[[], Rows]) -> Rows:
    """Return the rows that were saved under a name for as many samples, else measure and save them.

    None at all, where data or weights are missing, are not saved.

    Args:
        folder: of all saved rows.
        name: of these rows.
        count: samples that they are of.
        measure: returns them as JSON takes them.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     found = [saved_rows(Path(folder), "toy:a", 2, lambda: [{"value": value}]) for value in (1, 2)]
    >>> found
    [[{'value': 1}], [{'value': 1}]]
    """
    path = folder / f"{name.replace('/', '-').replace(':', '-')}-n{count}.json"
    if path.is_file():
        print(f"{name}: kept from an earlier run: {path}", file=sys.stderr)
        kept: Rows = json.loads(path.read_text())
        return kept
    if rows := measure():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=1))
        part.replace(path)
    return rows
