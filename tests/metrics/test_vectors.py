from __future__ import annotations

import numpy as np
import pytest

from torpor.core.errors import UsageError
from torpor.metrics.vectors import same_length, vector


def test_lists_and_integers_become_float64() -> None:
    array = vector([1, 2], "costs")
    assert array.dtype == np.float64
    assert array.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("values", [[], 1.0, [[1.0]]])
def test_shapes_other_than_one_number_per_sample_are_refused(values: object) -> None:
    with pytest.raises(UsageError, match="expected costs as one number per sample"):
        vector(values, "costs")  # type: ignore[arg-type]


def test_infinity_is_never_allowed_and_nan_only_on_request() -> None:
    with pytest.raises(UsageError, match="1 of 2"):
        vector([1.0, np.nan], "costs")
    assert np.isnan(vector([1.0, np.nan], "costs", nan=True)[1])
    with pytest.raises(UsageError, match="finite"):
        vector([1.0, np.inf], "costs", nan=True)


def test_columns_of_different_length_are_named() -> None:
    with pytest.raises(UsageError, match=r"'a': 2, 'b': 3"):
        same_length(a=np.zeros(2), b=np.zeros(3))
