"""The per-sample records of an audit as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torpor.audits.read import SavedAudit
from torpor.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


class Records:
    """One record per sample and row of the summary, read from ``records.parquet`` when asked for.

    ``records["slowdown"]`` is a column, ``to_arrow`` and ``to_pandas`` give tables.

    Args:
        audit: whose they are.
    """

    def __init__(self, audit: SavedAudit) -> None:
        self._audit = audit

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the file.

        Raises:
            DataError: if the file is missing or corrupt.
        """
        return self._audit.columns

    def __len__(self) -> int:
        return len(self.to_arrow(["sample"]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self.to_arrow([name]).column(0).to_numpy()
        return found

    def __repr__(self) -> str:
        return f"Records({len(self)} records of {len(self.columns)} columns)"

    def to_arrow(self, columns: Sequence[str] | None = None, row: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the records as an Arrow table.

        Args:
            columns: names of those to read; all if None.
            row: one of the audit's ``rows``, to read only the samples that it sums up.

        Raises:
            DataError: if the file is missing or corrupt, or has no such column.
        """
        return self._audit.load_records(columns, row)

    def to_pandas(self, columns: Sequence[str] | None = None, row: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the records as a data frame of pandas.

        Args:
            columns: names of those to read; all if None.
            row: one of the audit's ``rows``, to read only the samples that it sums up.

        Raises:
            UsageError: if pandas is not installed.
            DataError: if the file is missing or corrupt, or has no such column.
        """
        try:
            import pandas  # noqa: F401 - pyarrow imports it too
        except ImportError as error:
            raise UsageError("expected pandas for a data frame, got none installed; pip install pandas") from error
        found: pd.DataFrame = self.to_arrow(columns, row).to_pandas()
        return found
