"""The folder of a regression set, told from others without reading it."""

from __future__ import annotations

from pathlib import Path

from torpor.core.errors import UsageError

FILE = "set.json"
"""The file that makes a folder a set."""


def is_set(folder: Path) -> bool:
    """Tell whether a folder holds a regression set, and no audit."""
    return (folder / FILE).is_file() and not (folder / "audit.json").is_file()


def require_new(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        UsageError: if it does, or is none.
    """
    try:
        empty = not folder.exists() or not any(folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"expected a new or an empty folder with --out, got {folder}: {error}; choose another"
        ) from error
    if not empty:
        raise UsageError(f"expected a new or an empty folder with --out, got {folder}, which holds files; remove it")
