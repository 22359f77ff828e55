"""The per-sample records that reports draw, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torpor.audits.conditions import COLUMNS as KEY
from torpor.audits.conditions import RowKey
from torpor.reports.kit.words import Row

if TYPE_CHECKING:
    import numpy as np

    from torpor.audits.read import SavedAudit

COLUMNS = (
    *("sample", "attack", "defense", "attacker", "norm", "eps", "agreement"),
    *("cost_clean", "cost", "cost_static", "slowdown", "linf", "edits", "similarity"),
)


def read_records(audit: SavedAudit, more: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return the columns that a report needs.

    Args:
        audit: whose they are.
        more: columns of the target's family.

    Raises:
        DataError: if they cannot be read.
    """
    columns = (*COLUMNS, *more)
    table = audit.load_records(columns)
    records = {name: table[name].to_numpy() for name in columns}
    records["eps"] = records["eps"].astype(float)  # a column of nulls has no type of its own
    return records


def rows_of(records: Mapping[str, np.ndarray], row: Row) -> np.ndarray:
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
