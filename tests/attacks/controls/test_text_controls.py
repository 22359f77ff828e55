from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from torpor.attacks.controls.text import BestOfK, KeepWriting, RandomEdits
from torpor.attacks.registry import matched_controls
from torpor.attacks.text.engorgio import Engorgio
from torpor.core.budget import COUNTS
from torpor.core.errors import UsageError
from torpor.core.threat import Access
from torpor.targets.decoder.toy_text import ToyText

TEXTS = ("the cat sat", "my dog 3", "a tree, a bird")


@pytest.mark.parametrize("norm", COUNTS)
@pytest.mark.parametrize("eps", [1, 3, 6])
def test_random_edits_spend_the_whole_budget(norm: str, eps: int) -> None:
    target = ToyText()
    attack = RandomEdits(norm=norm, eps=eps)
    result = attack(target, TEXTS, seed=1)
    spent = [target.space.distance(*pair, norm) for pair in zip(TEXTS, result.candidates.inputs, strict=True)]
    room = [len(text.split()) for text in TEXTS] if norm == "words" else [eps] * 3
    assert spent == [min(eps, words) for words in room]
    assert all(target.space.survives(text) for text in result.candidates.inputs)
    assert not result.candidates.forwards.any()
    assert attack.is_control
    assert attack.access is Access.NONE


def test_luck_is_given_as_many_queries_as_skill() -> None:
    target = ToyText()
    few, many = (BestOfK(norm="chars", queries=torch.tensor([k] * 3)) for k in (1, 200))
    once, often = (attack(target, TEXTS, seed=0) for attack in (few, many))
    assert often.candidates.forwards.tolist() == [200] * 3
    assert (often.attacked.work.counts[:, 1] >= once.attacked.work.counts[:, 1]).all()
    assert (often.attacked.work.counts[:, 1] >= 10).all()
    assert once.candidates.inputs != often.candidates.inputs
    assert few == many  # a control is the same whatever it is matched to
    nothing = BestOfK(norm="chars", queries=torch.zeros(3, dtype=torch.int64))(target, TEXTS)
    assert nothing.inputs == TEXTS
    with pytest.raises(UsageError, match="expected queries for 2 samples, got 3"):
        few(target, TEXTS[:2])


def test_words_come_from_the_text_where_the_tokenizer_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.attacks.text.search.random_edits.vocabulary_words", lambda codec: ())
    (text,) = RandomEdits(norm="words", eps=2)(ToyText(), ("one two, three",), seed=0).candidates.inputs
    assert text != "one two, three"
    assert set(text.replace(",", "").split()) <= {"one", "two", "three"}


def test_the_request_is_cut_to_the_budget() -> None:
    target = ToyText()
    request = KeepWriting().request
    whole = KeepWriting(eps=100)(target, TEXTS[:1]).candidates.inputs
    assert whole == (f"the cat sat {request}",)
    assert KeepWriting(eps=13)(target, TEXTS[:1]).candidates.inputs == ("the cat sat Keep writing",)
    assert KeepWriting(eps=3)(target, TEXTS[:1]).candidates.inputs == TEXTS[:1]
    assert KeepWriting(norm="prompt", eps=4)(target, TEXTS[:1]).candidates.inputs == ("Keep",)
    assert KeepWriting(request="go on 99")(target, TEXTS[:1]).inputs == ("the cat sat go on 99",)
    with pytest.raises(UsageError, match="expected norm suffix, prompt"):
        KeepWriting(norm="chars")


def test_luck_is_given_the_queries_of_learning_too() -> None:
    target = ToyText()
    attack = Engorgio(steps=20, eps=6)
    attack = replace(attack, learned=attack.learn(target, (), None, 0))
    assert attack.learned is not None
    result = attack(target, TEXTS)
    (control,) = matched_controls(attack.budget, target, [attack], [result])
    assert isinstance(control, BestOfK)
    assert control.queries.tolist() == [attack.learned.forwards] * 3
    assert attack.learned.forwards >= 20
