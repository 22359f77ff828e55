"""The per-sample records that reports draw, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.audits.conditions import COLUMNS as KEY
from torpor.audits.conditions import RowKey
from torpor.reports.words import Row, finds, iterates

if TYPE_CHECKING:
    import numpy as np

    from torpor.audits.read import Audit

COLUMNS = (
    *("sample", "attack", "defense", "attacker", "norm", "eps", "reference", "exit", "agreement"),
    *("flops_clean", "flops", "flops_static", "slowdown", "linf"),
)
STEP_COLUMNS = ("steps", "steps_clean", "i_loops", "capped", "capped_clean", "edits", "similarity")
"""Columns of targets that iterate, on top."""
OBJECT_COLUMNS = ("kept", "clean_recall", "found", "truth")
"""Columns of targets that find objects, on top."""


def read_records(audit: Audit) -> dict[str, np.ndarray]:
    """Return the columns that a report needs.

    Raises:
        DataError: if they cannot be read.
    """
    columns = COLUMNS + (STEP_COLUMNS if iterates(audit.summary) else ())
    columns += OBJECT_COLUMNS if finds(audit.summary) else ()
    table = audit.records(columns)
    records = {name: table[name].to_numpy() for name in columns}
    records["eps"] = records["eps"].astype(float)  # a column of nulls has no type of its own
    return records


def rows_of(records: dict[str, np.ndarray], row: Row) -> np.ndarray:
    """Return which records, as a mask, belong to a row of the summary.

    >>> import numpy as np
    >>> columns = {"attack": ["a", "b"], "defense": ["none", "none"], "norm": ["L2", "L2"], "eps": [0.5, 0.5]}
    >>> columns["attacker"] = [None, None]
    >>> row = {"attack": "b", "defense": "none", "attacker": None, "norm": "L2", "eps": 0.5}
    >>> rows_of({name: np.array(column) for name, column in columns.items()}, row).tolist()
    [False, True]
    """
    import numpy as np
    import pyarrow as pa

    texts = {name: pa.array(records[name], pa.string(), from_pandas=True) for name in KEY if name != "eps"}
    table = pa.table({**texts, "eps": pa.array(records["eps"], pa.float64(), from_pandas=True)})
    mask = np.zeros(len(table), dtype=bool)
    mask[table.append_column("place", [np.arange(len(table))]).filter(RowKey.of(row).matches())["place"].to_numpy()] = (
        True
    )
    return mask
