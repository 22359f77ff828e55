"""Which data an audit reads."""

from __future__ import annotations

from pathlib import Path

from torpor.data.own import own_inputs
from torpor.data.sets import DataSet
from torpor.targets.base import Target


def source(target: Target, data_dir: Path | str | None, inputs: Path | str | None) -> DataSet:
    """Return the user's own ``inputs``, else the target's data, which may lie in ``data_dir``.

    Raises:
        UsageError: if the inputs do not fit the target.
        DataError: if there are no data.
    """
    if inputs is not None:
        return own_inputs(Path(inputs), target.space)
    return target.data(None if data_dir is None else Path(data_dir))
