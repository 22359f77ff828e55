"""Rows of Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from torpor.core.errors import DataError

DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)
"""What reading a damaged file raises."""


def require_once(file: pq.ParquetFile, columns: Sequence[str], path: Path) -> None:
    """Refuse a file with the same column twice: which one is meant is unknown.

    Raises:
        DataError: if so.
    """
    names = file.schema_arrow.names
    if twice := [name for name in columns if names.count(name) > 1]:
        raise DataError(f"expected one column {twice[0]}, got {names.count(twice[0])} in {path}; remove the others")


def read_rows(path: Path, columns: Sequence[str], what: str) -> Iterator[tuple[Any, ...]]:
    """Yield the values of ``columns``, row by row.

    Args:
        path: of the file.
        columns: their names.
        what: the rows are, for messages.

    Raises:
        DataError: if the file is missing or damaged, or lacks a column.
    """
    if not path.is_file():
        raise DataError(f"expected {what} in {path}, got no such file; pass --data-dir FOLDER")
    batches = _batches(path, columns)
    while True:
        try:
            rows = next(batches, None)
        except DAMAGE as error:
            raise DataError(f"expected a Parquet file, got {path}: {error}; fetch it again") from error
        if rows is None:
            return
        yield from rows  # outside the try block: Python may be shutting down when a reader that stops early is closed


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Iterable[tuple[Any, ...]]]:
    """Yield the rows of a file, many at a time."""
    file = pq.ParquetFile(path)
    if not set(columns) <= set(file.schema_arrow.names):
        raise DataError(f"expected columns {' and '.join(columns)}, got {file.schema_arrow.names} in {path}")
    require_once(file, columns, path)
    for rows in file.iter_batches(batch_size=1024, columns=list(columns)):
        yield zip(*(rows.column(name).to_pylist() for name in columns), strict=True)


def count_rows(path: Path) -> int | None:
    """Return the number of rows of a file; None for one that cannot be read; reading it raises an error."""
    if not path.is_file():  # a FIFO would block
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except DAMAGE:
        return None
