"""Attacks on expert routing, and the guards against them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from expert_targets import TEXTS, batched, experts

from torpor.attacks.controls.text import BestOfK
from torpor.attacks.text.experts.buffer_overflow import BufferOverflow
from torpor.attacks.text.experts.repetitioncurse import RepetitionCurse, whole_words
from torpor.attacks.text.standard import StandardText
from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense
from torpor.targets.decoder.toy_text import ToyCodec, ToyText
from torpor.targets.experts.loads import imbalance
from torpor.targets.experts.target import ExpertTarget


def uneven(target: ExpertTarget, texts: tuple[str, ...]) -> torch.Tensor:
    ran = target.balance(target.run(texts).work)
    return imbalance(ran["busiest"], ran["assigned"], target.placement.devices)


def test_a_repeated_token_is_as_uneven_as_can_be_and_random_ones_are_not() -> None:
    target = experts()
    attack = RepetitionCurse(norm="prompt", eps=24)
    result = attack(target, TEXTS)
    assert all(len(set(text.split())) == 1 for text in result.inputs)
    assert (uneven(target, result.inputs) >= 0.95 * target.placement.most_imbalance).all()
    queries = result.candidates.forwards
    random = BestOfK(norm="prompt", eps=24, queries=queries)(target, TEXTS)
    assert (target.prices.cost(result.attacked.work) > target.prices.cost(random.attacked.work)).all()
    assert uneven(target, random.inputs).mean() < 0.9 * uneven(target, result.inputs).mean()
    alone = attack(target, TEXTS[2:3])
    assert alone.inputs == result.inputs[2:3]


def test_suffixes_keep_the_text_and_one_token_needs_no_choice() -> None:
    target = experts()
    result = RepetitionCurse(norm="suffix", eps=16, tokens=1)(target, TEXTS)
    assert all(new.startswith(text) for new, text in zip(result.inputs, TEXTS, strict=True))
    assert result.candidates.forwards.unique().tolist() == [2]
    more = RepetitionCurse(norm="suffix", eps=16, tokens=8)(target, TEXTS)
    assert (target.prices.cost(more.attacked.work) >= target.prices.cost(result.attacked.work)).all()


def test_a_first_word_sends_the_copies_elsewhere() -> None:
    target = experts(4)
    pure = RepetitionCurse(norm="prompt", eps=24, tokens=32)(target, TEXTS[:2])
    led = RepetitionCurse(norm="prompt", eps=24, tokens=32, leads=32)(target, TEXTS[:2])
    assert (uneven(target, led.inputs) > uneven(target, pure.inputs)).all()
    words = len(list(whole_words(target.space.codec)))
    assert led.candidates.forwards.tolist() == [2 * words] * 2  # the clean text, each word, and each other one before
    assert all(len(set(text.split()[1:])) == 1 for text in led.inputs)
    assert len(target.space.codec.encode(led.inputs[0])) == 24


def test_standard_begins_with_it() -> None:
    target = experts()
    for norm in ("suffix", "prompt"):
        curse = RepetitionCurse(norm=norm, eps=8)(target, TEXTS[:2])
        whole = StandardText(norm=norm, eps=8, queries=150)(target, TEXTS[:2])
        assert (target.prices.cost(whole.attacked.work) >= target.prices.cost(curse.attacked.work)).all()
    assert RepetitionCurse.id in StandardText.covered()


def test_it_is_refused_elsewhere() -> None:
    with pytest.raises(UsageError, match="offers"):
        RepetitionCurse().check(ToyText())
    with pytest.raises(UsageError, match="1 token or more"):
        RepetitionCurse(tokens=0)
    with pytest.raises(UsageError, match="0 or more words"):
        RepetitionCurse(leads=-1)
    assert list(whole_words(ToyCodec()))  # a tokenizer without words that begin with a space has other tokens


@pytest.mark.parametrize("name", ["expert-capacity", "rebalance"])
def test_guards_lower_the_bound_and_leave_clean_texts_as_they_are(name: str) -> None:
    target = experts()
    guard: Any = load_defense(name)
    fitted = guard.fit(target, TEXTS)
    guarded: Any = fitted.defend(target)
    clean = target.run(TEXTS)
    assert guarded.run(TEXTS).work.counts.equal(clean.work.counts)
    assert guarded.run(TEXTS).outputs.equal(clean.outputs)
    tight: Any = load_defense(f"{name}:100").defend(target)
    attacked = RepetitionCurse(norm="prompt", eps=24)(tight, TEXTS)
    assert (tight.prices.cost(attacked.attacked.work) <= tight.prices.cost(tight.max_work(attacked.inputs))).all()
    even = -(-(tight.run(attacked.inputs).work.counts[:, 1] * 2) // 8) * tight.layer_count
    assert (tight.balance(attacked.attacked.work)["busiest"] <= even).all()
    assert fitted.with_state(fitted.state()) == fitted
    costs = [float(target.prices.cost(step.bounded(target).static_work())) for step in guard.ladder(target)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] < float(target.prices.cost(target.static_work()))
    with pytest.raises(UsageError, match="expected a defense for"):
        load_defense(f"{name}:150").defend(ToyText())
    with pytest.raises(UsageError, match=r"or more after|whole number after"):
        load_defense(f"{name}:0")


def test_a_batch_mate_takes_more_from_others_than_random_texts_do() -> None:
    target, texts = batched(), TEXTS[3:5]
    attack = BufferOverflow(norm="prompt", eps=24, queries=64)
    result = attack(target, texts)
    drops = target.hit(result.attacked.work)["neighbor_drops"]
    assert (drops > target.hit(result.clean.work)["neighbor_drops"]).all()
    random = BestOfK(norm="prompt", eps=24, queries=result.candidates.forwards)(target, texts)
    assert (drops >= target.hit(random.attacked.work)["neighbor_drops"]).all()
    assert attack(target, texts[1:]).inputs == result.inputs[1:]
    suffix = BufferOverflow(norm="suffix", eps=16, queries=16)(target, texts)
    assert all(new.startswith(text) for new, text in zip(suffix.inputs, texts, strict=True))


def test_it_begins_with_the_words_that_repetition_tries() -> None:
    target, texts = batched(), TEXTS[3:5]
    result = BufferOverflow(norm="prompt", eps=24, queries=64)(target, texts)
    curse = RepetitionCurse(norm="prompt", eps=24, tokens=57)(target, texts)
    assert (target.prices.cost(result.attacked.work) >= target.prices.cost(curse.attacked.work)).all()


def test_standard_takes_from_others_as_much_as_a_batch_mate_does() -> None:
    target, texts = batched(), TEXTS[3:5]
    mate = BufferOverflow(norm="prompt", eps=24, queries=64)(target, texts)
    whole = StandardText(norm="prompt", eps=24, queries=64)(target, texts)
    assert (target.prices.cost(whole.attacked.work) >= target.prices.cost(mate.attacked.work)).all()
    assert BufferOverflow.id in StandardText.covered()


def test_larger_buffers_leave_less_to_take() -> None:
    target, texts = batched(), TEXTS[3:5]
    bounds = []
    for percent in (150, 250, 400):
        guarded: Any = load_defense(f"expert-slack:{percent}").defend(target)
        result = BufferOverflow(norm="prompt", eps=24, queries=32)(guarded, texts)
        bounds.append(float(guarded.prices.cost(guarded.static_work())))
        assert float(guarded.prices.cost(result.attacked.work).max()) <= bounds[-1]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == 1
    with pytest.raises(UsageError, match="expected a defense for"):
        load_defense("expert-slack").defend(experts())
    with pytest.raises(UsageError, match="expected a defense for"):
        load_defense("expert-capacity:100").defend(target)


def test_overflow_is_refused_without_a_batch() -> None:
    with pytest.raises(UsageError, match="offers"):
        BufferOverflow().check(experts())
    with pytest.raises(UsageError, match="1 query or more"):
        BufferOverflow(queries=0)
