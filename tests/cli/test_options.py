"""Options of the command line that go into the name of a target."""

from __future__ import annotations

import pytest

from torpor.cli.options import with_options
from torpor.core.errors import UsageError


def test_only_models_of_transformers_take_options() -> None:
    with pytest.raises(UsageError, match="hf:NAME, with --cap, got speller"):
        with_options("speller", {"cap": 3, "raw": False})
    assert with_options("speller", {"cap": None}) == "speller"
