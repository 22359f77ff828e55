"""Read a finished audit back from its folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.audits.conditions import COLUMNS as IDENTIFYING
from torpor.audits.conditions import RowKey
from torpor.audits.schema import DIGESTS, FIRST_SCHEMA, SCHEMA, content_digest, finite
from torpor.audits.validate import DamagedAudit, validated
from torpor.core.errors import DataError, TorporError
from torpor.core.measures import COST, Catalog, Headline, Measure
from torpor.core.records import CERTIFIED, RECORD
from torpor.core.rows import ROW

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DamagedAudit", "IncompleteAudit", "SavedAudit", "read_audit"]


class IncompleteAudit(TorporError):  # noqa: N818 - names what the folder is, as the reports do
    """The audit was interrupted before its summary was written; nothing can be concluded from it yet."""


@dataclass(frozen=True, eq=False)
class SavedAudit:
    """What an audit wrote, as documented in ``docs/audit-format.md``.

    Attributes:
        folder: where it lies.
        config: how it was run.
        target: what was audited.
        environment: on what it was run.
        natural: benign percentiles, or None.
        summary: one row per attack, condition and budget.
        currency: what costs are in, such as ``"flops"``.
        measures: of the target's family, on top of those of every audit.
        headlines: figures that a report may begin with; it begins with the one that moved most.
        units: of the target by defense, each with name, price and stage.
        command: the command line that repeats it, or None.
        clock: calibrated seconds per unit, and of a pipeline's suppression; None if nothing was timed.
        samples: how many were asked for and read, in how many batches; None in older audits.
        elapsed: when the run that finished it started, and the seconds that it took; None in older audits.
        identity: fingerprints of target, data and code, and what they do not cover; None in older audits.
        digests: of the records and of all else; empty for older audits, and for those that no file holds.
        doubt: why the file may not be what was written; empty if it is.
        schema: of the files.
        notes: what readers must know of figures that were computed afterwards; empty for those of the run.
    """

    folder: Path
    config: Mapping[str, Any]
    target: Mapping[str, Any]
    environment: Mapping[str, Any]
    natural: Mapping[str, Any] | None
    summary: Sequence[Mapping[str, Any]]
    currency: str = "flops"
    measures: tuple[Measure, ...] = ()
    headlines: tuple[Headline, ...] = (COST,)
    units: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    command: str | None = None
    clock: Mapping[str, Any] | None = None
    samples: Mapping[str, Any] | None = None
    elapsed: Mapping[str, Any] | None = None
    identity: Mapping[str, Any] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""
    schema: str = SCHEMA
    notes: tuple[str, ...] = ()

    @property
    def catalog(self) -> Catalog:
        """Every measure of its records and rows."""
        return Catalog((*RECORD, *CERTIFIED, *ROW, *self.measures))

    def parts(self) -> dict[str, Any]:
        """Return everything but the folder, by name."""
        return {each.name: getattr(self, each.name) for each in fields(SavedAudit) if each.name != "folder"}

    def load_records(self, columns: Sequence[str] | None = None, row: Mapping[str, Any] | None = None) -> pa.Table:
        """Load columns of the per-sample records; nothing is read before this call.

        Args:
            columns: names of the columns to load; all if None. No other column is read but those that pick the samples.
            row: a summary row, to load only the samples that it sums up.

        Raises:
            DataError: if the file is missing or corrupt, or has no such column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        names, path = self._stored(), self.folder / "records.parquet"
        chosen = None if row is None else RowKey.of(row).matches()
        wanted = list(self.columns if columns is None else columns)
        try:
            if missing := [column for column in wanted if column not in names]:
                raise DataError(f"expected column {missing[0]!r} in {path}, got only {', '.join(names)}")
            if self.schema == SCHEMA:
                return pq.read_table(path, columns=wanted, filters=chosen, page_checksum_verification=True)
            needed = dict.fromkeys((*wanted, *(IDENTIFYING if row is not None else ())))
            old = pq.read_table(path, columns=[names[name] for name in needed], page_checksum_verification=True)
            from torpor.audits import version1

            table = version1.upgraded_records(old)
            return (table if chosen is None else table.filter(chosen)).select(wanted)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"expected readable records in {path}, got {error}; run the audit again") from error

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the records.

        Raises:
            DataError: if the file is missing or corrupt.
        """
        return tuple(name for name in self._stored() if name in self.catalog.at("sample"))

    def _stored(self) -> dict[str, str]:
        """Return how the file calls each of its columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / "records.parquet"
        if not path.is_file():
            raise DataError(f"expected records in {path}, got no such file; run the audit again")
        try:
            return {self._today(name): name for name in pq.read_schema(path).names}
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"expected readable records in {path}, got {error}; run the audit again") from error

    def _today(self, name: str) -> str:
        if self.schema == SCHEMA:
            return name
        from torpor.audits import version1

        return version1.COLUMNS.get(name, name)

    def examples(self, row: Mapping[str, Any]) -> Path:
        """Return the file of the saved inputs of a row of the summary; it may not exist."""
        slug = RowKey.of(row).slug
        if self.schema != SCHEMA:
            from torpor.audits import version1

            slug = version1.stored_slug(slug)
        return self.folder / "examples" / f"{slug}.safetensors"


def read_audit(folder: Path) -> SavedAudit:
    """Read the summary of a finished audit. A NaN or infinity in it is read as null: not measured.

    Args:
        folder: what ``torpor audit --out`` was given.

    Raises:
        IncompleteAudit: if the audit has begun there but not finished.
        DataError: if the folder is missing or holds no audit, or ``audit.json`` is corrupt or of another schema.
        DamagedAudit: if it holds values of other types than documented.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     parts = {"config": {}, "target": {"name": "toy"}, "environment": {}, "summary": []}
    ...     parts |= {"currency": "flops", "measures": [], "units": {}}
    ...     _ = Path(name, "audit.json").write_text(json.dumps({"schema": SCHEMA, **parts}))
    ...     read_audit(Path(name)).target["name"]
    'toy'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"expected the folder of an audit, got {folder}, which is no folder; run torpor audit --out")
    path = folder / "audit.json"
    if not path.is_file():
        if (folder / "plan.json").is_file():
            raise IncompleteAudit(
                f"expected a finished audit, got one that was interrupted in {folder}; repeat its command to resume it"
            )
        raise DataError(f"expected an audit in {folder}, got no audit.json there; pass the folder given to --out")
    raw = _load(path)
    schema = str(raw["schema"])
    parts = finite(raw)
    if schema != SCHEMA:
        from torpor.audits import version1

        parts = version1.upgraded(parts)
    return SavedAudit(folder, **validated(parts, folder), digests=_digests(raw), doubt=_doubt(raw), schema=schema)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(raw, ensure_ascii=False).encode()  # not every string that JSON can write can be printed
    except (ValueError, RecursionError, OSError) as error:  # ValueError covers JSON and UTF-8
        raise DataError(f"expected JSON in {path}, got {error}; run the audit again") from error
    if not isinstance(raw, dict) or raw.get("schema") not in (SCHEMA, FIRST_SCHEMA):
        found = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise DataError(f"expected schema {SCHEMA!r} in {path}, got {found!r}; read it with the torpor that wrote it")
    return raw


def _digests(raw: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the digests of the records and of all else; none where there are none that can be read."""
    found = raw.get(DIGESTS)
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("audit", "records")):
        return {}
    return found


def _doubt(raw: Mapping[str, Any]) -> str:
    """Say why what was read may not be what was written; empty if it is."""
    if DIGESTS not in raw:
        return "an older torpor wrote the audit, without digests that tell whether it is whole; run it again"
    if _digests(raw).get("audit") != content_digest(raw):
        return "audit.json was edited or damaged: it does not have its own digest; run the audit again"
    return ""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type is that of SavedAudit
    if name != "Audit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.Audit is now {__name__}.SavedAudit", DeprecationWarning, stacklevel=2)
    return SavedAudit
