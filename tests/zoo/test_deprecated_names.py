"""Names that the docs once gave still work, and say what they are now."""

from __future__ import annotations

import pytest

from torpor.training.early_exit import train


def test_the_old_home_of_training_warns_and_gives_the_same_function() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now torpor\.training\.early_exit; import train from there"):
        from torpor.zoo.recipes.training import train as old
    assert old is train
