"""Whether an audit is what was written and agrees with itself: what a gate asks before it lets anything pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torpor.audits.conditions import COLUMNS as KEY
from torpor.audits.conditions import TAMPERING, RowKey
from torpor.audits.read import SavedAudit
from torpor.audits.schema import file_digest
from torpor.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FIGURES = ("slowdown", "cost", "cost_clean", "headroom")
BOUNDED = ("certified_cost", "certified_slowdown")
CLOSE = 1e-6
"""Relative difference between a row and its records that is put down to rounding."""


def doubt(audit: SavedAudit, *, records: bool = True) -> str:
    """Say why nothing good should be concluded from an audit; empty if all that it holds agrees.

    Args:
        audit: what was read; one that no file holds is not doubted.
        records: whether the records must be there; a baseline is compared by its rows alone.

    >>> from pathlib import Path
    >>> doubt(SavedAudit(Path("nowhere"), {}, {"name": "toy"}, {}, None, []))
    ''
    """
    if audit.doubt or not audit.digests:
        return audit.doubt
    if reason := _rows(audit):
        return reason
    path = audit.folder / "records.parquet"
    if not path.is_file():
        return f"the records are missing in {audit.folder}; run the audit again" if records else ""
    try:
        if file_digest(path) != audit.digests["records"]:
            return f"{path} was changed or damaged: it does not have the digest in audit.json; run the audit again"
        return _records(audit)
    except (DataError, OSError) as error:
        return f"the records cannot be read: {error}"


def remarks(audit: SavedAudit) -> list[str]:
    """Return what readers of an audit must know beside its figures: doubts, missing samples, what it does not cover."""
    said = [*audit.notes, *(f"Not to be relied on: {reason}." for reason in [doubt(audit)] if reason)]
    samples = audit.samples or {}
    asked, read = samples.get("limit"), samples.get("read")
    cut_off = samples.get("cut_off")
    if isinstance(cut_off, Mapping):
        said.append(
            f"Cut off by --max-{cut_off.get('limit')} {cut_off.get('value')} after {read} samples: all figures are "
            "lower limits; repeat the command with a higher limit to resume."
        )
    elif asked is not None and read is not None and read < asked:
        said.append(f"{asked} samples were asked for, the data have {read}.")
    if isinstance(cut_short := samples.get("cut_short"), Mapping):
        limits = {name: cut_short.get(name) for name in ("seconds", "queries", "cost")}
        shared = " and ".join(f"--max-{name} {value:g}" for name, value in limits.items() if value)
        more = "more seconds" if shared == f"--max-seconds {limits['seconds']:g}" else "higher limits"
        said.append(
            f"Searches that were ended at their sample's share of {shared} with the best that they had found: "
            f"{cut_short.get('searches')}. Their figures are lower limits; repeat the command with {more} to search "
            "longer."
        )
    if unknown := (audit.identity or {}).get("uncovered"):
        said.append(f"A change of this would not be noticed when the command is repeated: {'; '.join(unknown)}.")
    return said


def _rows(audit: SavedAudit) -> str:
    """Compare the rows with each other and with how many samples were read."""
    keys = [RowKey.of(row) for row in audit.summary]
    if twice := [key for key in keys if keys.count(key) > 1]:
        return f"two rows are of {twice[0]}"
    known = set(keys)
    for key in keys:
        for needed in (key.undefended, key.clean):
            if needed not in known:
                return f"the row of {needed} is missing, with which others are compared"
    read = (audit.samples or {}).get("read")
    for row in audit.summary:
        if row["n"] != read:
            return f"the row of {row['attack']} is of {row['n']} samples, the audit read {read}"
    return ""


def _records(audit: SavedAudit) -> str:
    """Compute from the records what is cheap to compute, and compare it with the rows."""
    there = [name for name in (TAMPERING, *BOUNDED) if name in audit.columns]
    table, counted = audit.load_records((*KEY, *FIGURES, *there)), 0
    for row in audit.summary:
        own = table.filter(RowKey.of(row).matches())
        counted += len(own)
        if len(own) != row["n"]:
            return f"the records hold {len(own)} of {row['n']} samples of {row['attack']}"
        for key, value in _figures(own).items():
            said = row.get(key)
            if said is not None and not math.isclose(said, value, rel_tol=CLOSE, abs_tol=CLOSE):
                return f"{key} of {row['attack']} is {said:.6g}, its records say {value:.6g}"
    if counted != len(table):
        return f"the records hold {len(table)} rows, the summary tells of {counted}"
    return ""


def _figures(table: pa.Table) -> Mapping[str, float]:
    import numpy as np

    slowdown, cost, clean, headroom = (
        np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64) for name in FIGURES
    )
    found = {"cost_mean": cost.mean(), "cost_clean_mean": clean.mean(), "slowdown_mean": slowdown.mean()}
    found |= {f"slowdown_p{share}": np.quantile(slowdown, share / 100) for share in (50, 95, 99)}
    found["slowdown_max"] = slowdown.max()
    if not np.isnan(headroom).all():
        found["headroom_mean"] = np.nanmean(headroom)
    if BOUNDED[0] in table.column_names and not table[BOUNDED[0]].null_count:
        from torpor.metrics.certified import certified_summary

        certified, at_most = (table[name].to_numpy() for name in BOUNDED)
        found |= certified_summary(certified, at_most, cost)
    return {name: float(value) for name, value in found.items() if not math.isnan(value)}
