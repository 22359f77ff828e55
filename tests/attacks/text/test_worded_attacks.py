"""Attacks that write sentences: what they write, what they need, and what they find."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

import pytest
from billed import BilledTarget
from hypothesis import given
from hypothesis import strategies as st
from step_targets import AnsweringModel

from torpor.attacks.base import Attack
from torpor.attacks.registry import load_attack
from torpor.attacks.text.autodos import ASPECTS, ASSISTS, AutoDoS
from torpor.attacks.text.extendattack import BASES, NOTE, ExtendAttack, coded, decoded
from torpor.attacks.text.long_requests import LongRequests
from torpor.attacks.text.overthink import FRAMES, PROBLEMS, Decoy, OverThink
from torpor.attacks.text.wording import Worded
from torpor.core.errors import UsageError
from torpor.core.threat import Access
from torpor.targets.decoder.toy_text import ToyText

TEXT = "How far is it from here to the next town, and who lives there?"
KINDS: tuple[type[Worded], ...] = (AutoDoS, ExtendAttack, OverThink)


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_or_a_target_without_room_is_refused(kind: type[Worded]) -> None:
    target = BilledTarget()
    least = kind.least(target)
    with pytest.raises(
        UsageError, match=rf"expected eps of {least} tokens or more for {kind.id} on billed.*raise --eps"
    ):
        load_attack(kind.id, eps=least - 1)(target, (TEXT,))
    with pytest.raises(
        UsageError, match=f"expected a target that reads {least} tokens or more for {kind.id}.*reads 24"
    ):
        load_attack(kind.id)(ToyText(max_tokens=24), ("a cat",))
    assert not kind.applies_to(ToyText(max_tokens=24))
    assert kind.applies_to(BilledTarget(room=least))
    load_attack(kind.id, eps=least).check(BilledTarget(room=least))


def test_as_many_questions_are_asked_as_fit() -> None:
    target = BilledTarget(room=100_000)
    (full,) = AutoDoS(eps=50_000)(target, (TEXT,)).inputs
    assert len(re.findall(r"QUESTION_\d+: How far is it from here to the", full)) == len(ASPECTS) == 25
    assert all(aspect in full for aspect in ASPECTS)
    for eps in (300, 500, 900):
        (text,) = AutoDoS(eps=eps)(target, (TEXT,)).candidates.inputs
        assert eps - 150 < len(text) <= eps
        assert "My task:" in text
    assert set(target.asked) > {TEXT}


def test_three_streams_of_questions_keep_what_costs_more() -> None:
    target = BilledTarget()
    attack = AutoDoS(rounds=4)
    result = attack(target, (TEXT,))
    assert attack.queries == 1 + len(ASSISTS) * 4 >= int(result.candidates.forwards)
    tried = target.asked[2:-1]  # after the clean run and the search's own
    starts = [assist.split("{")[0] for assist in ASSISTS]
    assert all(any(text.startswith(start) for text in tried) for start in starts)
    assert result.inputs == (max(tried, key=target.bill),)


def test_the_questions_end_near_the_cap() -> None:
    result = AutoDoS(eps=300)(AnsweringModel(ToyText(cap=10, max_tokens=400)), ("a cat",))
    assert result.candidates.forwards.tolist() == [1 + len(ASSISTS)]
    with pytest.raises(UsageError, match="expected 1 to 25 questions"):
        AutoDoS(questions=26)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=30), st.integers(0, 1000))
def test_what_is_written_in_odd_bases_reads_back(text: str, seed: int) -> None:
    rng = Random(seed)
    assert decoded("".join(coded(one, rng.choice(BASES)) for one in text) + NOTE) == text


@pytest.mark.parametrize(("over", "share"), [("letters", 0.5), ("spaces", 0.1), ("letters", 1.0)])
def test_a_share_of_the_characters_is_extended(over: str, share: float) -> None:
    target = BilledTarget()
    attack = load_attack(f"extendattack:over={over}:share={share}")
    result = attack(target, (TEXT, "12 + 7 = ?"))
    text, none = result.candidates.inputs
    eligible = [one for one in TEXT if (one.isalpha() if over == "letters" else one.isspace())]
    codes = re.findall(r"<\((\d+)\)\w+>", text)
    assert len(codes) == min(int(len(eligible) * share) + 1, len(eligible))
    assert not {"10", "1", "37"} & set(codes)
    assert decoded(text) == TEXT
    if over == "letters":
        assert none == "12 + 7 = ?"  # which has none
    assert attack.access is Access.NONE
    assert not result.candidates.forwards.any()
    assert len(target.asked) == 4  # clean and attacked: the search asks nothing
    again = attack(target, ("12 + 7 = ?", TEXT), seed=1).candidates.inputs
    assert again[1] != text


def test_fewer_characters_are_extended_where_there_is_no_room() -> None:
    target, least = BilledTarget(), ExtendAttack.least(BilledTarget())
    for eps in (len(TEXT) + len(NOTE) + 12, len(TEXT) + len(NOTE) + 40):
        (text,) = ExtendAttack(eps=eps)(target, (TEXT,)).candidates.inputs
        assert 0 < len(re.findall(r"<\(\d+\)", text)) <= 8
        assert len(text) <= eps
    assert ExtendAttack(eps=least)(target, (TEXT,)).candidates.inputs == (TEXT,)
    with pytest.raises(UsageError, match="expected a share above 0"):
        ExtendAttack(share=0)


def test_decoys_stand_beside_the_question_and_leave_the_text_as_it_is() -> None:
    context = "Who lives there?\nThe town has a mayor.\nIt has a baker."
    target = BilledTarget()
    (after,) = OverThink()(target, (context,)).candidates.inputs
    assert after.startswith(context + "\n")
    (inside,) = OverThink(norm="prompt", eps=400)(target, (context,)).candidates.inputs
    question, decoy, *rest = inside.split("\n")
    assert "\n".join([question, *rest]) == context
    assert any(decoy.startswith(frame.split("{}")[0]) for frame in FRAMES)
    (alone,) = OverThink(norm="prompt", eps=400)(target, (TEXT,)).candidates.inputs
    assert alone.startswith(TEXT + " ")


def test_decoys_are_evolved_by_what_comes_back() -> None:
    attack, better = OverThink(eps=600), 0
    for seed in range(4):
        target = BilledTarget()
        result = attack(target, (TEXT,), seed=seed)
        asked = target.asked[1:-1]
        assert int(result.candidates.forwards) == len(asked) <= attack.queries == 1 + 7 + 45
        first = asked[1 : 1 + len(PROBLEMS)]
        assert len(set(first)) == len(PROBLEMS)
        best = target.bill(result.inputs[0])
        assert best == max(map(target.bill, asked))
        better += best > max(map(target.bill, first))
        assert result.curves is not None
        costs = [point.cost for point in result.curves[0]]
        assert costs == sorted(costs)
    assert better >= 2


def test_decoys_are_drawn_and_varied_within_their_limits() -> None:
    rng = Random(0)
    pool = [Decoy.drawn(kind, rng) for kind in range(len(PROBLEMS))]
    for _ in range(300):
        pool.append(rng.choice(pool).varied(pool, rng))
    for decoy in pool:
        limits = PROBLEMS[decoy.kind][1]
        assert all(low <= number <= high for number, (low, high) in zip(decoy.numbers, limits, strict=True))
        assert "{" not in decoy.text
    assert len({decoy.kind for decoy in pool}) == 7
    with pytest.raises(UsageError, match="expected 0 epochs or more"):
        OverThink(children=0)


@pytest.mark.parametrize("name", ["autodos", "extendattack", "overthink"])
def test_a_batch_equals_its_samples_and_texts_too_long_stay(name: str) -> None:
    texts = (TEXT, "7 cats", "a" * 1990)
    attack: Attack = load_attack(name)
    together = attack(BilledTarget(), texts, seed=5)
    for row, text in enumerate(texts):
        alone = attack(BilledTarget(), (text,), seed=5)
        assert alone.candidates.inputs == together.candidates.inputs[row : row + 1]
        assert alone.candidates.forwards.equal(together.candidates.forwards[row : row + 1])
    if name != "autodos":  # which needs no more of it than its beginning
        assert together.candidates.inputs[2] == texts[2]


def test_a_long_prompt_counts_even_if_the_answer_is_shorter() -> None:
    target = AnsweringModel(ToyText(cap=60, max_tokens=400))
    target.units = tuple(replace(unit, flops=10 if unit.name == "prompt_token" else 1) for unit in target.units)
    result = LongRequests(norm="prompt", eps=200)(target, ("999 99 ZZZZ",))  # more than any request makes it answer
    steps = [target.iterations(each.work).item() for each in (result.clean, result.attacked)]
    assert steps[1] < steps[0]
    assert len(result.inputs[0]) > 30
    assert (target.prices.cost(result.attacked.work) > target.prices.cost(result.clean.work)).all()
