"""Modules are found under the names that they had, with a warning that says the new one."""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest

import torpor.core.moved as moved
from torpor.core.lazy import MovedModule, find_moved
from torpor.core.moved import new_name


@pytest.mark.parametrize("old", [f"torpor.{name}" for name in moved._homes()])
def test_each_old_name_gives_the_module_of_today(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new = new_name(old)
    assert new is not None
    pytest.importorskip(new)
    for known in [name for name in sys.modules if name == old or name.startswith(f"{old}.")]:
        monkeypatch.delitem(sys.modules, known)
    with warnings.catch_warnings(record=True, action="always") as told:
        found = importlib.import_module(old)
    today = importlib.import_module(new)
    public = [name for name in vars(today) if not name.startswith("_")]
    assert all(getattr(found, name) is getattr(today, name) for name in public)
    assert f"{old} is now {new}; import from there" in [str(record.message) for record in told]


def test_what_is_inside_a_package_that_moved_is_found() -> None:
    with pytest.warns(DeprecationWarning, match=r"torpor\.targets\.generation\.codec is now torpor\.targets\.decoder"):
        found = importlib.import_module("torpor.targets.generation.codec")
    assert found.HuggingFaceCodec.__module__ == "torpor.targets.decoder.generation.codec"


def test_names_of_packages_that_were_modules() -> None:
    from torpor.attacks.controls import Control
    from torpor.targets.early_exit import EarlyExitTarget

    assert EarlyExitTarget.__module__ == "torpor.targets.early_exit.target"
    assert Control.__module__ == "torpor.attacks.controls.dense"


def test_no_other_name_is_found() -> None:
    find_moved()
    assert sum(isinstance(finder, MovedModule) for finder in sys.meta_path) == 1
    with pytest.raises(ModuleNotFoundError, match=r"torpor\.targets\.nope"):
        importlib.import_module("torpor.targets.nope")
