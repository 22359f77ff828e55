"""Texts of saved inputs on disk: string columns of a Parquet file, beside the tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from torpor.core.errors import UsageError
from torpor.core.files import require_file, texts_beside


def text_array(texts: Sequence[str]) -> pa.Array:
    """Return texts as they are, as a column.

    Raises:
        UsageError: if one cannot be written as UTF-8.
    """
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError as error:
        raise UsageError(
            f"expected texts that UTF-8 can hold, got {error.object!r:.40}; replace such characters"
        ) from error


def save_table(path: Path, partial: Path, table: pa.Table) -> None:
    """Replace ``path`` by a Parquet file in one step; ``partial`` is the name of the unfinished one."""
    try:
        pq.write_table(table, partial, write_page_checksum=True)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_texts(path: Path, index: Sequence[int], texts: Mapping[str, Sequence[str]]) -> None:
    """Write texts beside the file of tensors ``path``: one row per sample, one string column per name.

    Args:
        path: of the tensors.
        index: of the samples, the first column.
        texts: of all samples by name, each of any length.

    Raises:
        UsageError: if a text cannot be written as UTF-8.
    """
    own = texts_beside(path)
    own.parent.mkdir(parents=True, exist_ok=True)
    columns = {"index": pa.array(index, pa.int64()), **{name: text_array(column) for name, column in texts.items()}}
    save_table(own, own.with_name(f"{own.name}.partial"), pa.table(columns))


def load_texts(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the texts beside the file of tensors ``path`` by name; nothing if there are none.

    Raises:
        DataError: if something else than a file is in their place.
        OSError: if they are damaged.
        pyarrow.ArrowException: likewise.
    """
    own = texts_beside(path)
    if not own.exists():
        return {}
    table = pq.read_table(require_file(own), page_checksum_verification=True)
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    return {name: tuple(table[name].to_pylist()) for name in names}
