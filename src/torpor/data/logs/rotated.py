"""Logs as servers leave them: rotated into several files, and packed with gzip."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO

from torpor.core.errors import DataError
from torpor.core.files import require_file

PACKED = ".gz"
KINDS = (".jsonl", ".ndjson", ".json", ".csv")
"""How the name of a log ends, before what rotation puts behind it."""
_NAME = re.compile(r".*?(\.jsonl|\.ndjson|\.json|\.csv)(?:[.-]\d[\d.T_:-]*)?(?:\.gz)?", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"(\d+)")


def log_kind(path: Path) -> str:
    """Return one of :data:`KINDS`, by the name of a log; empty for another file.

    >>> [log_kind(Path(name)) for name in ("a.jsonl", "a.JSONL.2.gz", "a.csv-20261128", "a-2026-11-28.json", "a.txt")]
    ['.jsonl', '.jsonl', '.csv', '.json', '']
    """
    found = _NAME.fullmatch(path.name)
    return found[1].lower() if found else ""


def logs_in(folder: Path) -> list[Path]:
    """Return the logs in a folder by name, numbers in names as such; hidden files and folders in it are not looked at.

    Raises:
        DataError: if it cannot be read.
    """

    def order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (0, part) for part in _NUMBER.split(path.name)]

    try:
        found = [path for path in folder.iterdir() if log_kind(path) and not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"expected a folder that can be read, got {folder}: {error}; pass another") from error
    return sorted((path for path in found if not path.is_dir()), key=order)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes] | GzipFile]:
    """Open a log, unpacked if its name ends in ``.gz``; how much is read of it is up to the caller.

    Raises:
        DataError: if it is no regular file, or what is read in the ``with`` block is broken.
    """
    require_file(path)
    try:
        with GzipFile(path) if path.suffix.lower() == PACKED else path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"expected a log that can be read, got {path}: {error}; check it") from error
