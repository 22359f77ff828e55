"""The per-sample records that reports draw, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    mask: np.ndarray = (records["attack"] == row["attack"]) & (records["defense"] == row["defense"])
    if row.get("attacker") is not None:
        mask &= records["attacker"] == row["attacker"]
    if row.get("eps") is None:
        mask &= np.isnan(records["eps"])
    else:
        mask &= (records["norm"] == row["norm"]) & np.isclose(records["eps"], row["eps"], rtol=1e-6)
    return mask
