"""Attacks on a router: with its gate, by its decisions alone, and from surrogates."""

from __future__ import annotations

import pytest
import torch
from text_encoders import OTHER_TEXTS, TEXTS, exiting, routing

from torpor.attacks.controls.text import RandomEdits
from torpor.attacks.text.routing.black import ReroutingBlack, SuffixForAll
from torpor.attacks.text.routing.r2a import R2A, taught
from torpor.attacks.text.routing.rerouting import Rerouting
from torpor.attacks.text.standard import StandardText
from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense

LEARNED: tuple[SuffixForAll, ...] = (ReroutingBlack(texts=8, steps=24), R2A(texts=8, steps=60, surrogates=2))


def test_a_suffix_has_the_expensive_model_asked() -> None:
    target = routing()
    attack = Rerouting(eps=3, steps=6, candidates=12)
    result = attack(target, TEXTS)
    random = RandomEdits(norm="suffix", eps=3)(target, TEXTS)
    sent = [target.expensive(each.attacked.work).sum() for each in (result, random)]
    assert sent[0] > sent[1]
    assert sent[0] > target.expensive(result.clean.work).sum()
    assert all(new.startswith(text) for new, text in zip(result.inputs, TEXTS, strict=True))
    standard = StandardText(norm="suffix", eps=3, queries=200)(target, TEXTS)
    assert target.expensive(standard.attacked.work).sum() >= sent[0]
    assert attack(target, TEXTS[1:2]).inputs == result.inputs[1:2]
    assert (result.candidates.backwards > 0).any()


@pytest.mark.parametrize("attack", LEARNED, ids=lambda attack: attack.id)
def test_suffixes_are_learned_on_other_texts_and_kept(attack: SuffixForAll) -> None:
    target = routing()
    with pytest.raises(UsageError, match="before fit"):
        attack(target, TEXTS)
    fitted = attack.fit(target, OTHER_TEXTS * 4, seed=1)
    result = fitted(target, TEXTS)
    assert target.expensive(result.attacked.work).sum() >= target.expensive(result.clean.work).sum()
    assert fitted.forwards_before > 0
    assert attack.with_state(fitted.state()).gadget == fitted.gadget
    assert fitted.fit(target, OTHER_TEXTS * 4, seed=1).gadget == fitted.gadget


def test_decisions_alone_are_enough_to_climb() -> None:
    target = routing()
    fitted = ReroutingBlack(texts=7, steps=60).fit(target, TEXTS)
    assert fitted.gadget is not None
    drawn = ReroutingBlack(texts=7, steps=1).fit(target, TEXTS)
    sent = [int(target.expensive(each(target, TEXTS).attacked.work).sum()) for each in (fitted, drawn)]
    assert sent[0] > sent[1]


def test_surrogates_learn_what_the_router_decides() -> None:
    texts = [torch.tensor([3, 4]), torch.tensor([5, 6, 7]), torch.tensor([3, 7])]
    decided = torch.tensor([1.0, 0.0, 1.0])
    model = taught(9, 8, texts, decided, seed=0)
    assert ((model(texts) > 0).float()).equal(decided)


def test_they_are_refused_elsewhere_and_the_cheap_model_alone_is_a_guard() -> None:
    for attack in (Rerouting(), *LEARNED):
        with pytest.raises(UsageError, match="offers"):
            attack.check(exiting())
    with pytest.raises(UsageError, match="1 text or more"):
        ReroutingBlack(texts=0)
    with pytest.raises(UsageError, match="steps and candidates"):
        Rerouting(steps=0)
    target = routing()
    guarded = load_defense("quota:90").defend(target)
    assert (guarded.prices.cost(guarded.run(TEXTS).work) <= guarded.prices.cost(guarded.static_work())).all()
