"""Defenses by name and by entry point, with settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
import torch

from torpor.core import registry
from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.space import InputSpace
from torpor.defenses.chain import Chain
from torpor.defenses.detectors.svm import SVM
from torpor.defenses.registry import DEFENSES, defense_ids, load_defense
from torpor.defenses.transforms.base import Transform
from torpor.defenses.transforms.jpeg import JPEG

LOADED = """
import sys
from torpor.defenses.registry import load_defense
load_defense("jpeg:75")
print(*sorted(name for name in sys.modules if name.startswith("torpor.defenses.")))
"""


class Mine(Transform):
    """A transform of somebody else's."""

    id = "mine"

    def forward(self, inputs: Samples, generators: list[torch.Generator]) -> Samples:
        return inputs

    def flops(self, space: InputSpace) -> int:
        return 1


class Unfinished(Transform):
    id = "unfinished"


def test_names_are_those_of_the_classes() -> None:
    assert [DEFENSES.find(name).id for name in DEFENSES._builtin] == list(DEFENSES._builtin)
    assert [name for name in defense_ids() if name in DEFENSES._builtin] == list(DEFENSES._builtin)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert "torpor.defenses.transforms.jpeg" in done.stdout.split()
    others = {"torpor.defenses.detectors.svm", "torpor.defenses.transforms.spelling", "torpor.defenses.detectors.base"}
    assert not others & set(done.stdout.split())


def test_a_class_of_ones_own_needs_no_registration() -> None:
    mine = load_defense(f"{__name__}:Mine")
    assert type(mine) is Mine
    assert mine.name == "mine"


def test_a_class_of_ones_own_cannot_take_the_name_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mine, "id", "jpeg")
    with pytest.raises(UsageError, match="an id of its own"):
        load_defense(f"{__name__}:Mine")


def test_what_a_class_leaves_out_is_named() -> None:
    with pytest.raises(UsageError, match="Unfinished to define flops, forward, got none"):
        load_defense(f"{__name__}:Unfinished")


@pytest.mark.parametrize("name", ["jpeg:75", "jpeg", "jpeg:quality=75"])
def test_a_setting_may_be_named(name: str) -> None:
    assert load_defense(name) == JPEG(75)
    assert load_defense(name).name == "jpeg:75"


def test_chains_are_read_part_by_part() -> None:
    assert load_defense("jpeg:quality=50+svm:fpr=0.01") == Chain((JPEG(50), SVM(0.01)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jpg", r"a defense by its name or .*, got 'jpg'; did you mean jpeg\?"),
        ("jpg:75", r"got 'jpg'; did you mean jpeg\?"),
        ("jpeg:quality=x", "jpeg:quality to be a whole number, got 'x'"),
        ("jpeg:strength=3", "an option of jpeg among quality, got 'strength'"),
        ("steps:learned=5", "part of the defense's name, got 'steps:learned=5', which would be called steps"),
        ("svm:fitted=x", "got 'fitted'"),
    ],
)
def test_unknown_names_and_settings_are_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_defense(name)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = [EntryPoint("mine", f"{__name__}:Mine", "torpor.defenses")]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "torpor.defenses" else [])
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()


@pytest.mark.usefixtures("plugged")
def test_plug_ins_are_found_by_name() -> None:
    assert defense_ids()[-1] == "mine"
    assert DEFENSES.find("mine") is Mine
