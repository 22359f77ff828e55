"""The zoo by name, and what loading a target of it imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from torpor.targets.resolve import target_names
from torpor.training.registry import TRAINERS
from torpor.zoo.registry import ZOO

OF_ENTRIES = set(ZOO) | {"speech-digits-features"}  # the same entry, which reads features
LOAD = """
import sys, json
from torpor.targets.resolve import load_target
for name in json.loads(sys.argv[1]):
    assert load_target(name).name
print(json.dumps(sorted(name for name in sys.modules if name.startswith("torpor."))))
"""


def test_names_are_those_of_the_entries_and_of_registered_targets() -> None:
    assert all(entry.name == name for name, entry in ZOO.items())
    assert set(target_names()) >= OF_ENTRIES


def test_every_entry_has_what_trains_it() -> None:
    assert set(TRAINERS) == set(ZOO)
    for name, trainer in TRAINERS.items():
        assert trainer.entry == ZOO[name]


def test_an_unknown_name_is_no_entry() -> None:
    assert "nope" not in ZOO
    with pytest.raises(KeyError):
        ZOO["nope"]


@pytest.mark.slow
def test_loading_imports_no_attack_and_no_training() -> None:
    names = sorted(name for name in OF_ENTRIES if name not in ZOO or ZOO[name].ships)
    assert len(names) > 10
    words = [sys.executable, "-c", LOAD, json.dumps(names)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "torpor.zoo.early_exits" in loaded
    assert not [module for module in loaded if module.split(".")[1] in ("attacks", "training")]
