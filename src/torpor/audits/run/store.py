"""Records on disk: shards that survive a kill, merged into one Parquet file at the end."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from torpor.audits.conditions import RowKey
from torpor.audits.run.limits import Spent
from torpor.core.batches import Samples
from torpor.core.errors import DataError, UsageError
from torpor.core.files import TEXTS, partial_of, require_file, save_tensors, texts_beside, write_atomically
from torpor.core.measures import Catalog, Measure, Points
from torpor.core.records import RECORD

_ARROW: dict[type, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    list: pa.list_(pa.int64()),
    Points: pa.list_(pa.struct({"passes": pa.int64(), "cost": pa.float64(), "member": pa.string()})),
}


def records_schema(measures: Sequence[Measure]) -> pa.Schema:
    """Return the columns of records with these measures on top of those of every audit."""
    return schema_of(Catalog((*RECORD, *measures)).at("sample").values())


def schema_of(measures: Iterable[Measure]) -> pa.Schema:
    """Return a column for each measure, which may hold null if the measure defines what that means."""
    return pa.schema([pa.field(each.name, _ARROW[each.dtype], nullable=bool(each.null)) for each in measures])


class Store:
    """The folder of one audit while it runs.

    Args:
        folder: of the audit.
        measures: on top of those of every audit.
        verify: raises if the folder is not to be written any more; called before each write.

    Attributes:
        count: how many shards were merged; None before, when all that are there count.
    """

    def __init__(
        self, folder: Path, measures: Sequence[Measure] = (), verify: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.verify = folder, verify
        self.schema = records_schema(measures)
        self.shards = folder / "shards"
        self.count: int | None = None

    def has(self, number: int, samples: Sequence[int] = (), batch: str = "") -> bool:
        """Tell whether shard ``number`` is complete and can be read; a damaged one must be rewritten.

        Args:
            number: of the shard, from 0.
            samples: the samples that it must hold, row by row of the audit; any if empty.
            batch: digest of these samples.
        """
        try:
            table = read_table(require_file(self._path(number, "parquet")), self.schema.names)
            self._examples(number)
            self.spent(number)
        except pa.lib.ArrowCancelled as error:  # what Arrow makes of Ctrl-C
            raise KeyboardInterrupt from error
        except (DataError, OSError, ValueError, TypeError, KeyError, pa.ArrowException, SafetensorError):
            return False
        known = (table.schema.metadata or {}).get(b"batch", b"").decode()
        return not samples or (table["sample"].to_pylist() == list(samples) and known == batch)

    def write(
        self,
        number: int,
        table: pa.Table,
        examples: Mapping[str, Samples],
        seconds: dict[str, float],
        batch: str = "",
        spent: Spent | None = None,
    ) -> None:
        """Write one shard; its Parquet file comes last and makes it complete.

        Two processes may write the same shard at once, if one of them was believed dead: each writes its own files and
        puts them in their place in one step, and both hold the same.

        Args:
            number: of the shard.
            table: records.
            examples: ``"SLUG/FIELD"`` to a tensor, or a tuple of texts.
            seconds: what each row's attack took.
            batch: digest of the samples, without any attack.
            spent: what the attacks of all rows spent.

        Raises:
            UsageError: if the folder is not the one any more that this process holds, or a text cannot be written.
        """
        self.verify()
        own = uuid.uuid4().hex[:8]
        tensors = {name: values for name, values in examples.items() if isinstance(values, Tensor)}
        save_tensors(self._path(number, "safetensors"), tensors, own)
        texts = {name: values for name, values in examples.items() if name not in tensors}
        if texts:
            from torpor.audits.texts import save_table, text_array

            columns = map(text_array, texts.values())
            listed = pa.array([column.to_pylist() for column in columns], pa.list_(pa.string()))
            path = self._texts(number)
            save_table(path, partial_of(path, own), pa.table({"name": list(texts), "texts": listed}))
        facts = {"seconds": seconds, "spent": asdict(spent or Spent()), "texts": bool(texts)}
        write_atomically(self._path(number, "json"), json.dumps(facts), own)
        partial = self._path(number, f"parquet.{own}.partial")
        pq.write_table(table.replace_schema_metadata({"batch": batch}), partial, write_page_checksum=True)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        self.verify()
        os.replace(partial, self._path(number, "parquet"))

    def lost(self, count: int) -> list[int]:
        """Return which of the first ``count`` shards lack a file."""
        return [n for n in range(count) if not self._all_there(n)]

    def tables(self) -> Iterator[pa.Table]:
        """Yield the records of each of the merged shards, in order."""
        for number in range(self._count()):
            yield read_table(self._path(number, "parquet"), self.schema.names)

    def row(self, key: RowKey) -> pa.Table:
        """Return the merged records of one row of the summary, in the order of the samples."""
        return read_table(self.folder / "records.parquet", self.schema.names, key.matches())

    def seconds(self) -> dict[str, list[float]]:
        """Return what each row's attack took, by its slug, on each shard."""
        found: dict[str, list[float]] = {}
        for number in range(self._count()):
            for name, value in self._facts(number)["seconds"].items():
                found.setdefault(name, []).append(value)
        return found

    def spent(self, number: int) -> Spent:
        """Return what the attacks of one shard spent."""
        return Spent(**self._facts(number)["spent"])

    def examples(self) -> Iterator[dict[str, Samples]]:
        """Yield the examples of each shard, in order."""
        for number in range(self._count()):
            yield self._examples(number)

    def merge(self, count: int | None = None) -> None:
        """Write ``records.parquet`` from the first ``count`` shards (all that are there, if None), one at a time.

        Raises:
            DataError: if one is missing.
            UsageError: if the folder is not the one any more that this process holds.
        """
        self.verify()
        count = self._count() if count is None else count
        if lost := self.lost(count):
            raise DataError(
                f"expected {count} finished batches in {self.shards}, got none for number {lost[0]}; leave that folder "
                "alone and repeat the command"
            )
        self.count = count
        partial = self.folder / "records.parquet.partial"
        with pq.ParquetWriter(partial, self.schema, write_page_checksum=True) as writer:
            for table in self.tables():
                writer.write_table(table.replace_schema_metadata())
        self.verify()
        os.replace(partial, self.folder / "records.parquet")

    def clear(self) -> None:
        """Delete the shards, if there still are any, once everything that came from them is on disk."""
        if self.shards.is_dir():
            self.verify()
            for path in self.shards.iterdir():
                path.unlink()
            self.shards.rmdir()

    def _all_there(self, number: int) -> bool:
        kinds = ("parquet", "safetensors", "json")
        if not all(self._path(number, kind).is_file() for kind in kinds):
            return False
        return not self._facts(number)["texts"] or self._texts(number).is_file()

    def _examples(self, number: int) -> dict[str, Samples]:
        found: dict[str, Samples] = load_file(require_file(self._path(number, "safetensors")))
        if not self._facts(number)["texts"]:
            return found
        texts = read_table(require_file(self._texts(number)), ("name", "texts"))
        pairs = zip(texts["name"].to_pylist(), texts["texts"].to_pylist(), strict=True)
        return found | {name: tuple(column) for name, column in pairs}

    def _facts(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(require_file(self._path(number, "json")).read_text(encoding="utf-8"))
        return found

    def _count(self) -> int:
        if self.count is not None:
            return self.count
        return sum(not path.name.endswith(TEXTS) for path in self.shards.glob("*.parquet"))

    def _texts(self, number: int) -> Path:
        return texts_beside(self._path(number, "safetensors"))

    def _path(self, number: int, suffix: str) -> Path:
        return self.shards / f"{number:06d}.{suffix}"


def read_table(path: Path, columns: Sequence[str], filters: Any = None) -> pa.Table:  # noqa: ANN401 - of pyarrow
    """Read columns of one Parquet file; damage inside of a page is an error, not another figure.

    Raises:
        OSError: if the file is missing or damaged.
        pyarrow.ArrowException: likewise.
    """
    return pq.read_table(path, columns=list(columns), filters=filters, page_checksum_verification=True)


def records_table(columns: Mapping[str, Any], count: int, measures: Sequence[Measure] = ()) -> pa.Table:
    """Build records.

    Args:
        columns: tensors, arrays or lists ``[count]`` by name; None, or no entry, where nothing is defined.
        count: samples.
        measures: of the target's family.

    Raises:
        UsageError: if a column is no measure, has another number of samples, or holds null where none may be.
    """
    return table_of(columns, count, records_schema(measures))


def table_of(columns: Mapping[str, Any], count: int, schema: pa.Schema) -> pa.Table:
    """Build a table of ``count`` samples; see :func:`records_table`."""
    if unknown := columns.keys() - set(schema.names):
        raise UsageError(f"expected columns that the target's family measures, got {', '.join(sorted(unknown))}")
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        listed = [None] * count if values is None else _listed(values)
        if len(listed) != count:
            raise UsageError(f"expected {count} values of {field.name}, one per sample, got {len(listed)}")
        try:
            arrays.append(pa.array(listed, field.type))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(f"expected {field.type} as {field.name} of each sample, got {error}") from error
        if arrays[-1].null_count and not field.nullable:
            raise UsageError(f"expected a value of {field.name} for each sample, got none for some; give it a null")
    return pa.table(arrays, schema=schema)


def _listed(values: Any) -> list[Any]:  # noqa: ANN401 - a tensor, an array or a sequence
    """Return values as a list, None in place of NaN."""
    found = values.tolist() if isinstance(values, Tensor | np.ndarray) else list(values)
    return [None if isinstance(value, float) and math.isnan(value) else value for value in found]


class ColumnsOf(Mapping[str, list[Any]]):
    """The columns of a table as lists, each made when it is asked for.

    >>> ColumnsOf(pa.table({"steps": [3, 4]}))["steps"]
    [3, 4]
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __getitem__(self, name: str) -> list[Any]:
        found: list[Any] = self.table[name].to_pylist()
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_columns)
