"""Targets around a language model: what they share, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from draft_targets import drafting, exiting, looking_up
from generation_models import sentences

from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.meters.flops import counting
from torpor.targets.decoder.exiting.target import ExitingTarget
from torpor.targets.decoder.speculative.target import SpeculativeTarget

TEXTS = sentences(4)
Around = ExitingTarget | SpeculativeTarget
MAKES: dict[str, Callable[[], Around]] = {"exits": exiting, "drafts": drafting, "look-up": looking_up}


@pytest.fixture(params=list(MAKES))
def target(request: pytest.FixtureRequest) -> Around:
    return MAKES[request.param]()


def test_searches_make_the_flops_large_and_ask_for_each_text_once(target: Around) -> None:
    costs = target.prices.cost(target.run(TEXTS).work).tolist()
    assert target.score((*TEXTS, *TEXTS)).tolist() == [round(cost) for cost in costs] * 2
    assert target.score(()).shape == (0,)
    assert target.most_goal == round(float(target.prices.cost(target.static_work())))


def test_the_bound_of_a_text_is_that_of_its_length_and_a_cap_lowers_both(target: Around) -> None:
    capped = target.with_cap(3)
    assert (capped.cap, capped.large.cap, capped.cap_of(2)) == (3, 3, 3)
    assert int(capped.iterations(capped.run(TEXTS).work).max()) <= 3
    for one in (target, capped):
        texts = tuple("the dog " * count for count in range(1, 16, 3))
        assert (one.max_work(texts).counts <= one.static_work().counts).all()
    assert (capped.static_work().counts <= target.static_work().counts).all()
    assert capped.most_goal < target.most_goal == target.with_cap(target.cap).most_goal
    assert capped.details()["cap"] == 3
    assert capped.fingerprint() != target.fingerprint()


def test_a_stopwatch_sees_each_text_and_ends_the_search(target: Around) -> None:
    watch = Stopwatch()
    watched = target.until(watch)
    assert target.stopwatch is None
    watch.begin(2.0**40)
    work = watched.run(TEXTS).work
    assert (watch.forwards, watch.steps) == (len(TEXTS), int(target.goal(work).max()))
    watched.signals(TEXTS[:2])
    assert watch.backwards == 2
    watch.begin(0.0)
    for call in (watched.run, watched.score):
        with pytest.raises(OutOfTime):
            call(TEXTS)


def test_probes_cost_what_they_say(target: Around) -> None:
    if isinstance(target, SpeculativeTarget) and target.small is not None:
        pytest.skip("two models, as tests of speculative decoding count them")
    capped, found = target.with_cap(4), 0
    for work, call in capped.probes(TEXTS[:1]):
        with counting() as counter:
            call()
        found += 1
        assert int(target.prices.cost(work)) == counter.flops
    assert found >= 8


def test_references_data_and_embeddings_are_those_of_the_model(target: Around) -> None:
    outputs = target.run(TEXTS).outputs
    assert target.utility(outputs, TEXTS).equal(target.large.utility(outputs, TEXTS))
    assert target.utility_name == target.large.utility_name == "chrF"
    assert target.details()["generation_config"] == target.large.details()["generation_config"]
    embedded = target.embedding_matrix()[torch.tensor([[5, 6]])]
    own = target.large.embedding_matrix()[torch.tensor([[5, 6]])]
    assert target.soft_logits(embedded).equal(target.large.soft_logits(own))
    joined = target.soft_continuation(embedded, embedded)
    assert joined.equal(target.large.soft_continuation(own, own))
