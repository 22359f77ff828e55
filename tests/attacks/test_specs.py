"""Attacks that a program built are named by a specification that builds them again, or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.registry import attack_ids, load_attack
from torpor.attacks.specs import spec_of
from torpor.core.errors import UsageError
from torpor.targets.early_exit.toys import needle


@dataclass(frozen=True, kw_only=True)
class Still(Attack):
    """Sends what it is given."""

    id: ClassVar[str] = "still"
    paper: ClassVar[None] = None
    word: str = "a"
    weights: tuple[float, ...] = ()

    def search(self, target: object, inputs: object, labels: object, seed: int) -> Candidates:
        raise NotImplementedError


@pytest.mark.parametrize("name", [name for name in attack_ids() if not name.startswith("control-")])
def test_every_attack_as_it_is_by_default_is_its_name(name: str) -> None:
    assert spec_of(load_attack(name)) == name


def test_settings_are_options_and_the_budget_is_not() -> None:
    square = load_attack("square:queries=50", eps=0.1, share=0.25)
    assert spec_of(square) == "square:queries=50:share=0.25"
    assert load_attack(spec_of(square), eps=0.1) == square
    assert spec_of(load_attack("nicg-slowdown", norm="L2", terms="end")) == "nicg-slowdown:terms=end"


def test_a_class_of_a_module_is_named_by_it() -> None:
    assert spec_of(Still(word="b", eps=0.5)) == f"{__name__}:Still:word=b"


def test_what_no_text_says_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Inside(Still):
        pass

    for attack in (Inside(), Still(weights=(1.0,)), Still(word="a:b"), Still(word="a,b")):
        with pytest.raises(UsageError, match=r"^expected an attack that a specification can name, got "):
            spec_of(attack)


def test_what_an_attack_has_learned_is_no_part_of_its_name() -> None:
    uap = load_attack("uap")
    fitted = uap.fit(needle(), torch.full((4, 1, 4, 4), 0.8), references=torch.zeros(4, dtype=torch.int64))
    assert spec_of(uap) == "uap"
    with pytest.raises(UsageError, match="got UAP, whose learned is a Learned; "):
        spec_of(fitted)
    assert spec_of(replace(uap, eps=0.5)) == "uap"
