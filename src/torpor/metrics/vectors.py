"""Check what metrics are given: one finite number per sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError


def vector(values: npt.ArrayLike, name: str, *, nan: bool = False) -> npt.NDArray[np.float64]:
    """Return ``values`` as float64 ``[N]``.

    Args:
        values: one number per sample.
        name: what they are, for the message.
        nan: whether NaN, "not defined", is allowed.

    Raises:
        UsageError: if there are no values, or more than one dimension, or values that are not finite.

    >>> vector([1, 2], "costs").tolist()
    [1.0, 2.0]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise UsageError(f"expected {name} as one number per sample, at least one, got shape {list(array.shape)}")
    bad = np.isinf(array) if nan else ~np.isfinite(array)
    if bad.any():
        raise UsageError(f"expected finite {name}, got {bad.sum()} of {len(array)} that are not; fix their source")
    return array


def same_length(**columns: npt.NDArray[np.float64]) -> None:
    """Raise unless all columns have one entry per sample.

    Raises:
        UsageError: if their lengths differ.

    >>> same_length(cost=np.zeros(2), clean=np.zeros(2))
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"expected columns of one length, got {lengths}; pass the same samples in the same order")
