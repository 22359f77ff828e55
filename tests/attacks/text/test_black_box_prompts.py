"""Attacks that write whole prompts or suffixes and see nothing but what comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from billed import OUTPUT_USD, PROMPT_USD, BilledTarget
from step_targets import AnsweringModel, Translator

from torpor.attacks.registry import attack_for, free_controls, load_attack, matched_controls
from torpor.attacks.text.eogen import COMMON, LONGEST, SHORTEST, EOGen, english_words
from torpor.attacks.text.long_requests import REQUESTS, LongRequests
from torpor.attacks.text.repetition import RepeatedRequests, segments
from torpor.attacks.text.search.goal import Answers, ask, most_steps, rises
from torpor.attacks.text.standard_queries import StandardQueries
from torpor.audits.run.estimate import passes
from torpor.core.budget import COUNTS, Budget
from torpor.core.errors import UsageError
from torpor.core.text import Characters
from torpor.core.units import Unit
from torpor.targets.decoder.toy_text import ToyText

TEXTS = ("the cat 9", "my dog 3", "no end")
BLIND = (
    "llmeffichecker-char",
    "llmeffichecker-token",
    "llmeffichecker-structure",
    "sponge-genetic:epochs=3:alphabet=94",
    "eogen:generations=5",
    "repetition",
    "standard-queries",
)


@pytest.mark.parametrize("name", BLIND)
def test_attacks_run_on_whatever_bills_texts(name: str) -> None:
    target = BilledTarget()
    result = load_attack(name, eps=3 if name.startswith("llm") else 40)(target, TEXTS)
    clean, cost = (target.prices.cost(each.work) for each in (result.clean, result.attacked))
    assert (cost >= clean).all()
    assert (cost > clean).any()
    assert len(target.asked) - 2 * len(TEXTS) == result.candidates.forwards.sum()
    assert result.curves is not None
    for row, curve in enumerate(result.curves):
        assert [point.cost for point in curve] == sorted({point.cost for point in curve})
        if curve:
            assert curve[-1].cost == pytest.approx(float(cost[row]))


def test_candidates_are_compared_by_what_the_target_offers() -> None:
    texts = ("9", "cat", "a 9")
    assert ask(ToyText(), texts) == ask(AnsweringModel(), texts) == Answers([10, 1, 10], [10_010, 1_030, 10_030])
    billed = BilledTarget()
    steps, costs = ask(billed, ("9", "again", "cat"))
    assert costs == pytest.approx([PROMPT_USD * p + OUTPUT_USD * o for p, o in ((1, 11), (5, 101), (3, 1))])
    assert steps == [45, 409, 7]  # in tokens of the prompt
    assert most_steps(ToyText(cap=7)) == most_steps(AnsweringModel(ToyText(cap=7))) == 7
    assert most_steps(billed) > 10**15
    assert ask(billed, ()) == Answers([], [])
    assert [point[:2] for point in rises(Answers([45, 7], [0.5, 0.1]), 0.2, 3)] == [(4, 0.5)]


def test_prompts_of_plain_words_are_evolved_to_the_costliest() -> None:
    target = AnsweringModel()
    attack = EOGen(eps=60, generations=60, alpha=0)
    result = attack(target, ("the cat",), seed=1)
    (text,) = result.inputs
    words = text.split()
    assert SHORTEST <= len(words) <= LONGEST
    assert set(words) <= set(english_words(target.inner.codec))
    assert target.iterations(result.attacked.work).tolist() == [1 + 4 * LONGEST]  # pizzazz, seven times
    assert int(result.candidates.forwards) < attack.queries


def test_tokens_of_the_prompt_count_against_it() -> None:
    lengths = []
    for alpha in (0, 100):
        target = BilledTarget()
        EOGen(eps=60, generations=30, alpha=alpha)(target, ("hello",), seed=1)
        lengths.append(sum(map(len, target.asked[-40:-1])))
    assert lengths[1] < 0.8 * lengths[0]


def test_words_are_common_ones_where_the_tokenizer_has_none() -> None:
    assert english_words(Characters()) is COMMON
    target = BilledTarget()
    (text,) = EOGen(eps=60, generations=300)(target, ("hello",)).inputs
    assert text.split().count("again") >= 4
    with pytest.raises(UsageError, match="expected a population of 4 or more"):
        EOGen(population=3)


@pytest.mark.parametrize("norm", ["suffix", "prompt"])
def test_what_is_repeated_fills_the_budget(norm: str) -> None:
    target = BilledTarget()
    result = RepeatedRequests(norm=norm, eps=50)(target, ("say again",))
    (text,) = result.inputs
    own = text.removeprefix("say again") if norm == "suffix" else text
    assert own.split() == ["again"] * 8
    assert RepeatedRequests(norm=norm, eps=50)(target, ("say again",), seed=9).inputs == (text,)
    assert list(segments(" "))[:1] == []


def test_repetitions_come_before_requests_and_may_be_enough() -> None:
    target = Translator(cap=5, max_tokens=200)
    result = RepeatedRequests(eps=40)(target, ("a 3",))
    assert result.attacked.work.counts.tolist() == [[3 + 40, 5]]
    assert int(result.candidates.forwards) <= 1 + 7
    assert int(RepeatedRequests(eps=40)(ToyText(cap=5), ("a 3",)).candidates.forwards) > 1 + 7


def test_natural_requests_are_a_control_that_says_so() -> None:
    target = BilledTarget()
    control = LongRequests(eps=200)
    result = control(target, ("hello",))
    assert control.is_control
    assert control.id.startswith("control-")
    asked = target.asked[2:-1]
    assert asked == [f"hello {request}" for request in REQUESTS]
    assert result.inputs[0] == max(asked, key=target.bill)
    assert {each.id for each in free_controls(Budget("prompt", 9))} >= {"control-long-requests", "control-keep-writing"}
    assert "control-long-requests" not in {each.id for each in free_controls(Budget("chars", 9))}
    cut = LongRequests(norm="prompt", eps=12)(target, ("hello",)).candidates.inputs[0]
    assert any(request.startswith(cut) for request in REQUESTS)
    assert passes(control) == (11, 0)


@pytest.mark.parametrize("norm", COUNTS)
def test_standard_stays_within_its_queries_and_beats_chance(norm: str) -> None:
    eps = {"suffix": 40, "prompt": 40}.get(norm, 3)
    target = BilledTarget()
    attack = load_attack("standard-queries:queries=150", norm=norm, eps=eps)
    result = attack(target, TEXTS, seed=2)
    assert (result.candidates.forwards <= 150).all()
    assert result.curves is not None
    names = {point.member for curve in result.curves for point in curve}
    assert names
    assert names <= {"evolution", "repetition", "control-long-requests", *StandardQueries.covered()}
    (control,) = matched_controls(attack.budget, BilledTarget(), [attack], [result])
    luck = control(BilledTarget(), TEXTS, seed=2)
    found, chance = (target.prices.cost(each.attacked.work) for each in (result, luck))
    assert (found >= chance).all()


@pytest.mark.parametrize("norm", ["chars", "tokens", "words"])
def test_half_of_the_queries_within_edits_are_what_random_search_asks_first(norm: str) -> None:
    attack, target, other = StandardQueries(norm=norm, eps=3, queries=40), BilledTarget(), BilledTarget()
    result = attack(target, TEXTS[:1], seed=5)
    (control,) = matched_controls(attack.budget, other, [attack], [result])
    control(other, TEXTS[:1], seed=5)
    drawn = list(dict.fromkeys(text for text in other.asked[1:21] if text != TEXTS[0]))
    asked = list(dict.fromkeys(text for text in target.asked if text != TEXTS[0]))
    assert len(drawn) > 4
    assert asked[: len(drawn)] == drawn


def test_standard_goes_on_from_natural_requests() -> None:
    target = BilledTarget()
    result = StandardQueries(norm="suffix", eps=30)(target, ("no end",))
    (curve,) = result.curves or ((),)
    assert curve[0].member == "control-long-requests"
    assert curve[-1].member == "evolution"
    assert int(result.attacked.work.counts[0, 1]) > 3 * (1 + 10 * 5)  # the request that was asked first has five digits


class Reader(ToyText):
    """A toy that pays as much for a token that it reads as for one that it writes, and writes few."""

    def __init__(self) -> None:
        super().__init__(cap=9, max_tokens=200)
        self.units = (Unit("prompt_token", flops=1000), Unit("decoder_step", flops=1000))


@pytest.mark.parametrize("norm", ["suffix", "prompt"])
@pytest.mark.parametrize("name", ["standard-queries", "standard-text"])
def test_what_a_long_prompt_costs_counts_beside_the_length_of_the_answer(name: str, norm: str) -> None:
    target = Reader()
    attack = load_attack(f"{name}:queries=120", norm=norm, eps=60)
    result = attack(target, TEXTS, seed=2)
    cost = target.prices.cost(result.attacked.work)
    own = torch.tensor([len(target.codec.encode(text)) if norm == "suffix" else 0 for text in TEXTS])
    assert cost.tolist() == (1000.0 * (own + 60 + target.cap)).tolist()
    assert (result.candidates.forwards <= 120).all()
    (control,) = matched_controls(attack.budget, target, [attack], [result])
    assert (cost >= target.prices.cost(control(target, TEXTS, seed=2).attacked.work)).all()


def test_a_search_ends_where_nothing_within_the_budget_costs_more() -> None:
    class Short(Translator):
        """Its static bound is that of the text."""

    target = Short(cap=9, max_tokens=200)
    result = load_attack("standard-text", norm="prompt", eps=12)(target, ("the cat",), seed=1)
    assert result.attacked.work.counts.tolist() == [[12, 9]]
    assert int(result.candidates.forwards) < 500


def test_standard_is_what_its_name_means_without_gradients() -> None:
    assert attack_for("standard", AnsweringModel()) == "standard-queries"
    assert attack_for("standard", ToyText()) == "standard-text"
    assert StandardQueries.covered() == (
        "evolution",
        "llmeffichecker-char",
        "llmeffichecker-token",
        "llmeffichecker-structure",
        "repetition",
    )
    with pytest.raises(UsageError, match="expected 1 query or more"):
        StandardQueries(queries=0)


@pytest.mark.parametrize("make", [AnsweringModel, BilledTarget])
def test_a_batch_equals_its_samples(make: Callable[[], AnsweringModel | BilledTarget]) -> None:
    for attack in (StandardQueries(norm="prompt", eps=20, queries=60), EOGen(eps=40, generations=4)):
        together = attack(make(), TEXTS, seed=1)
        alone = [attack(make(), TEXTS[row : row + 1], seed=1) for row in range(3)]
        assert tuple(text for each in alone for text in each.candidates.inputs) == together.candidates.inputs
        assert torch.cat([each.candidates.forwards for each in alone]).equal(together.candidates.forwards)
    assert EOGen(generations=1).queries == 21
