"""Records on disk: shards that survive a kill, merged into one Parquet file at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from torpor.core.records import Record

_ARROW: dict[object, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    tuple[int, ...]: pa.list_(pa.int64()),
}


def _field(name: str, annotation: object) -> pa.Field:
    """Turn a field of :class:`Record` into a column; ``X | None`` is a nullable one."""
    options = get_args(annotation)
    nullable = NoneType in options
    return pa.field(name, _ARROW[options[0] if nullable else annotation], nullable=nullable)


SCHEMA = pa.schema([_field(name, annotation) for name, annotation in get_type_hints(Record).items()])


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace ``path`` by a safetensors file in one step.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, partial)
        partial.chmod(0o644)  # safetensors writes files for their owner alone
        os.replace(partial, path)
    except SafetensorError as error:  # what safetensors makes of any trouble with the disk
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


class Store:
    """The folder of one audit while it runs.

    Args:
        folder: of the audit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = folder / "shards"

    def has(self, number: int) -> bool:
        """Tell whether shard ``number`` is complete and can be read; one that was damaged is to be written anew."""
        try:
            pq.read_table(self._path(number, "parquet"))
            load_file(self._path(number, "safetensors"))
            json.loads(self._path(number, "json").read_text(encoding="utf-8"))
        except (OSError, ValueError, pa.ArrowException, SafetensorError):
            return False
        return True

    def write(self, number: int, table: pa.Table, examples: dict[str, Tensor], seconds: dict[str, float]) -> None:
        """Write one shard; its Parquet file comes last and makes it complete.

        Args:
            number: of the shard.
            table: records.
            examples: ``"SLUG/FIELD"`` to tensor.
            seconds: what each row's attack took.
        """
        save_tensors(self._path(number, "safetensors"), examples)
        write_atomically(self._path(number, "json"), json.dumps(seconds))
        partial = self._path(number, "parquet.partial")
        pq.write_table(table, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, self._path(number, "parquet"))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the records of each shard, in order."""
        for path in sorted(self.shards.glob("*.parquet")):
            yield pq.read_table(path)

    def seconds(self) -> dict[str, float]:
        """Return what each row's attack took, over all shards."""
        total: dict[str, float] = {}
        for path in sorted(self.shards.glob("*.json")):
            for name, value in json.loads(path.read_text(encoding="utf-8")).items():
                total[name] = total.get(name, 0.0) + value
        return total

    def examples(self) -> Iterator[dict[str, Tensor]]:
        """Yield the examples of each shard, in order."""
        for path in sorted(self.shards.glob("*.safetensors")):
            yield load_file(path)

    def merge(self) -> None:
        """Write ``records.parquet`` from the shards, one at a time."""
        partial = self.folder / "records.parquet.partial"
        with pq.ParquetWriter(partial, SCHEMA) as writer:
            for table in self.tables():
                writer.write_table(table)
        os.replace(partial, self.folder / "records.parquet")

    def clear(self) -> None:
        """Delete the shards, if there still are any, once everything that came from them is on disk."""
        if self.shards.is_dir():
            for path in self.shards.iterdir():
                path.unlink()
            self.shards.rmdir()

    def _path(self, number: int, suffix: str) -> Path:
        return self.shards / f"{number:06d}.{suffix}"


def records_table(columns: dict[str, Any]) -> pa.Table:
    """Build records from columns in the order of the schema."""
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
