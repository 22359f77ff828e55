"""Read a finished audit back from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.core.errors import DataError, TorporError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "torpor.audit/1"
EPS_TOLERANCE = 1e-6
"""Relative difference below which two radii are the same budget (a radius may have been stored as float32)."""


class IncompleteAudit(TorporError):  # noqa: N818 - it says what the folder is, as the reports do
    """The audit was interrupted before its summary was written; nothing can be concluded from it yet."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit wrote, as documented in ``docs/audit-format.md``.

    Attributes:
        folder: where it lies.
        config: how it was run.
        target: what was audited.
        environment: on what it was run.
        natural: benign percentiles, or None.
        summary: one row per attack, defense and budget.
        command: the command line that repeats it, or None.
        clock: seconds per unit of a pipeline, and of its suppression; None for other targets.
    """

    folder: Path
    config: Mapping[str, Any]
    target: Mapping[str, Any]
    environment: Mapping[str, Any]
    natural: Mapping[str, Any] | None
    summary: Sequence[Mapping[str, Any]]
    command: str | None = None
    clock: Mapping[str, Any] | None = None

    def parts(self) -> dict[str, Any]:
        """Return everything but the folder, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "folder"}

    def records(self, columns: Sequence[str], row: Mapping[str, Any] | None = None) -> pa.Table:
        """Load columns of the per-sample records; nothing is read before this call.

        Args:
            columns: names of the columns to load; no other column is read but those that pick the samples.
            row: a summary row, to load only the samples that it sums up.

        Raises:
            DataError: if the file is missing or corrupt, or has no such column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / "records.parquet"
        if not path.is_file():
            raise DataError(f"expected records in {path}, got no such file; run the audit again")
        try:
            known = pq.read_schema(path).names
            if missing := [column for column in columns if column not in known]:
                raise DataError(f"expected column {missing[0]!r} in {path}, got only {', '.join(known)}")
            chosen = None if row is None else _same_samples(row)
            return pq.read_table(path, columns=list(columns), filters=chosen)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"expected readable records in {path}, got {error}; run the audit again") from error


def read_audit(folder: Path) -> Audit:
    """Read the summary of a finished audit. A NaN or infinity in it is read as null: not measured.

    Args:
        folder: what ``torpor audit --out`` was given.

    Raises:
        IncompleteAudit: if the audit has begun there but not finished.
        DataError: if the folder is missing or holds no audit, or ``audit.json`` is corrupt or of another schema.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     parts = {"config": {}, "target": {"name": "toy"}, "environment": {}, "summary": []}
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
                f"expected a finished audit, got one that was interrupted in {folder}; repeat its command to go on"
            )
        raise DataError(f"expected an audit in {folder}, got no audit.json there; pass the folder given to --out")
    return _validated(folder, _load(path))


def _load(path: Path) -> Mapping[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError, OSError) as error:  # ValueError covers JSON and UTF-8
        raise DataError(f"expected JSON in {path}, got {error}; run the audit again") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise DataError(f"expected schema {SCHEMA!r} in {path}, got {found!r}; read it with the torpor that wrote it")
    return raw


def _validated(folder: Path, raw: Mapping[str, Any]) -> Audit:
    for part in ("config", "target", "environment"):
        if not isinstance(raw.get(part), dict):
            raise DataError(f"expected an object {part!r} in {folder}, got {raw.get(part)!r}; run the audit again")
    if not isinstance(raw["target"].get("name"), str):
        raise DataError(f"expected the target's name in {folder}, got {raw['target'].get('name')!r}")
    natural, summary = raw.get("natural"), raw.get("summary")
    if not isinstance(natural, dict | None):
        raise DataError(f"expected an object or null 'natural' in {folder}, got {natural!r}; run the audit again")
    if not isinstance(summary, list) or not all(_is_row(row) for row in summary):
        raise DataError(f"expected a list of rows with attack and kind as 'summary' in {folder}; run the audit again")
    if not isinstance(clock := raw.get("clock"), dict | None):
        raise DataError(f"expected an object or null 'clock' in {folder}, got {clock!r}; run the audit again")
    parts = (raw["config"], raw["target"], raw["environment"], natural, summary, raw.get("command"), clock)
    return Audit(folder, *parts)


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("attack"), str) and isinstance(row.get("kind"), str)


def _same_samples(row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a pyarrow expression
    import pyarrow.compute as pc

    chosen = pc.field("attack") == row["attack"]
    if row.get("attacker") is not None:
        chosen &= pc.field("attacker") == row["attacker"]
    for key in ("defense", "norm"):
        value = row.get(key)
        chosen &= pc.field(key).is_null() if value is None else pc.field(key) == value
    eps = row.get("eps")
    if eps is None:
        return chosen & pc.field("eps").is_null()
    slack = abs(eps) * EPS_TOLERANCE
    return chosen & (pc.field("eps") >= eps - slack) & (pc.field("eps") <= eps + slack)
