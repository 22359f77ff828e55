"""The router that ships: what it saves, and how easily a suffix takes that back."""

from __future__ import annotations

import pytest

from torpor.attacks.text.routing.rerouting import Rerouting
from torpor.zoo.text.people import people
from torpor.zoo.text.routers import ROUTERS

CAPTIONS = (
    "A man in an orange hat starring at something.",
    "Two men stand on a hill.",
    "A black dog leaps over a log.",
    "A boy is jumping on an inflatable slide.",
)


def test_it_saves_most_of_the_cost_and_a_suffix_takes_it_back() -> None:
    pytest.importorskip("transformers")
    target = ROUTERS["router-multi30k"].load()
    clean = target.run(CAPTIONS)
    assert clean.outputs.argmax(-1).tolist() == [people(text) for text in CAPTIONS]
    assert not target.expensive(clean.work).any()
    assert (target.prices.cost(clean.work) < 0.1 * target.prices.cost(target.max_work(CAPTIONS))).all()
    result = Rerouting(eps=3)(target, CAPTIONS)
    assert target.expensive(result.attacked.work).sum() >= 3
