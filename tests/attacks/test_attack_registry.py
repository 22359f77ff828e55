"""Attacks by name, by module and by entry point, with options."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest
import torch
from contract_rows import own_attacks
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.early_exit.deepsloth_universal import DeepSlothUniversal
from torpor.attacks.early_exit.square import Square
from torpor.attacks.registry import (
    ATTACKS,
    attack_class,
    attack_for,
    attack_ids,
    default_attacks,
    load_attack,
    takes_steps,
)
from torpor.audits.request import request
from torpor.core import registry
from torpor.core.errors import UsageError
from torpor.core.space import WaveSpace
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.toys import needle

LOADED = """
import sys
from torpor.attacks.registry import ATTACKS, attack_ids, load_attack
from torpor.core.errors import UsageError
assert "deepsloth" in ATTACKS and "nope" not in ATTACKS and len(attack_ids()) > 30
try:
    load_attack("DeepSlot")
except UsageError as error:
    assert "did you mean deepsloth?" in str(error)
load_attack("square:queries=5")
print(*sorted(name for name in sys.modules if name.startswith("torpor.attacks.")))
"""


@dataclass(frozen=True, kw_only=True)
class Brighter(Attack):
    """Brighten all pixels alike."""

    id: ClassVar[str] = "brighter"
    paper: ClassVar[None] = None

    share: float = 1.0
    sign: int

    @override
    def search(self, target: Any, inputs: Tensor, labels: object, seed: int) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(inputs + self.sign * self.share * self.eps, nothing, nothing)


def test_names_are_those_of_the_classes() -> None:
    assert [kind.id for kind in own_attacks()] == [name for name in attack_ids() if name in ATTACKS._builtin]


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    others = {
        f"torpor.attacks.{name}" for name in ("deepsloth", "standard", "nmtsloth", "overload", "controls", "loop")
    }
    assert "torpor.attacks.early_exit.square" in done.stdout.split()
    assert not others & set(done.stdout.split())


def test_options_are_read_as_their_types_and_name_the_attack() -> None:
    attack = load_attack("square:queries=50:share=0.5", norm="L2", eps="1/2")
    assert attack == Square(norm="L2", eps=0.5, queries=50, share=0.5)
    assert attack.name == "square:queries=50:share=0.5"
    assert load_attack("square").name == Square().name == "square"
    assert load_attack("square", queries=50).name == "square"
    assert load_attack("deepsloth:steps=60") == DeepSloth(steps=60)
    assert load_attack("nicg-slowdown:terms=end", norm="L2").terms == "end"  # type: ignore[attr-defined]
    assert load_attack("engorgio:tail=none").tail is None  # type: ignore[attr-defined]


def test_an_attack_by_its_module_is_called_by_its_id() -> None:
    attack = load_attack(f"{__name__}:Brighter:sign=-1", eps=0.5)
    assert isinstance(attack, Brighter)
    assert attack.name == "brighter:sign=-1"
    found = attack(needle(), torch.full((1, 1, 4, 4), 1.0))
    assert found.attacked.work.counts.tolist() == [[1, 1, 1, 1]]  # gray is in all windows
    assert attack_class(f"{__name__}:Brighter:sign=-1") is Brighter


@pytest.mark.parametrize(
    ("spec", "more", "words"),
    [
        ("square:query=5", {}, r"option of square among .*queries.*, got 'query'; did you mean queries\?"),
        ("square:queries=x", {}, "square:queries to be a whole number, got 'x'"),
        ("square:queries=0", {}, "1 query or more"),
        ("square:5", {}, "expected square:KEY=VALUE, got 'square:5'"),
        ("square:queries=5:queries=6", {}, "queries once"),
        ("square:queries=5:6", {}, "expected square:KEY=VALUE:KEY=VALUE, got '6'"),
        ("square:options=5", {}, "got 'options'"),
        ("pgd:eps=8/255", {}, "without its budget, got eps in 'pgd:eps=8/255'; pass norm and eps on their own"),
        ("deepsloth:steps=5", {"steps": 6}, "no number of steps for deepsloth:steps=5, got 6"),
        ("nicg-slowdown:terms=all", {}, "terms to be both or end or chosen, got 'all'"),
        ("deepsloth-universal:learned=x", {}, "got 'learned'"),
        (f"{__name__}:Brighter", {}, "expected sign for .*, got none; write .*Brighter:sign=VALUE"),
        (f"{__name__}:Tensor", {}, "a subclass of torpor's Attack"),
        (f"{__name__}:Nothing", {}, "'Nothing' in"),
        ("no.module:Mine", {}, "a module that can be imported, got 'no.module'"),
    ],
)
def test_impossible_specifications_are_refused(spec: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_attack(spec, **more)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = [
        EntryPoint("brighter", f"{__name__}:Brighter", "torpor.attacks"),
        EntryPoint("broken", f"{__name__}:Missing", "torpor.attacks"),
        EntryPoint("square", f"{__name__}:Brighter", "torpor.attacks"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "torpor.attacks" else [])
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()


@pytest.mark.usefixtures("plugged")
def test_plug_ins_are_found_by_name_and_torpor_s_own_names_win() -> None:
    assert attack_ids()[-2:] == ("brighter", "broken")
    assert load_attack("brighter:sign=1:share=0.5") == Brighter(sign=1, share=0.5)
    assert type(load_attack("square")) is Square
    with pytest.raises(UsageError, match=r"plug-in 'broken' .* to load, got AttributeError"):
        load_attack("broken")


def test_steps_go_to_those_that_do_not_say_them() -> None:
    names = [name for name in ("deepsloth", "deepsloth:steps=3", "square", "engorgio") if takes_steps(name)]
    assert names == ["deepsloth", "engorgio"]


def test_families_choose_the_attacks_of_their_targets() -> None:
    assert default_attacks(needle()) == ("standard",)
    assert default_attacks(LampTarget()) == ("standard-detector", "phantom-sponges")
    assert default_attacks(ToyText()) == ("standard-text",)
    assert default_attacks(PeakTarget()) == ("standard-decoder",)
    assert default_attacks(PeakTarget(space=WaveSpace((64,)))) == ("standard-decoder",)


def test_standard_is_the_ensemble_of_the_targets_family() -> None:
    assert attack_for("standard", needle()) == "standard"
    assert attack_for("standard", ToyText()) == "standard-text"
    assert attack_for("standard", PeakTarget()) == "standard-decoder"
    assert attack_for("standard:passes=80", LampTarget()) == "standard-detector:passes=80"
    assert attack_for("evolution:queries=5", ToyText()) == "evolution:queries=5"
    plan = request("torpor.targets.decoder.toy_text:ToyText", "standard,evolution", norm="tokens", eps=2).plan
    assert plan.attacks == ("standard-text", "evolution")


def test_what_was_learned_is_handed_over_as_tensors() -> None:
    target = needle()
    inputs = torch.full((4, 1, 4, 4), 0.8)
    fresh = DeepSlothUniversal(eps=0.35)
    fitted = fresh.fit(target, inputs, seed=1)
    state = fitted.state()
    assert not fresh.state()
    assert all(isinstance(value, Tensor) for value in state.values())
    again = fresh.with_state(state)
    assert again.learned is not None
    assert fitted.learned is not None
    for each in fields(again.learned):
        one, other = (getattr(attack.learned, each.name) for attack in (fitted, again))
        assert one.equal(other) if isinstance(one, Tensor) else one == other
    assert again(target, inputs).inputs.equal(fitted(target, inputs).inputs)
    assert again.forwards_before == fitted.learned.forwards > 0
    with pytest.raises(KeyError):
        fresh.with_state({})
