"""The zoo's vision transformers that skip: accurate, and cheaper than their static bound."""

from __future__ import annotations

import pytest

from torpor.data.images import Digits, to_unit
from torpor.zoo.registry import ZOO


@pytest.mark.parametrize("name", ["avit-digits", "adavit-digits", "ats-digits"])
def test_digits_are_read_for_less(name: str) -> None:
    target, batch = ZOO[name].load(), Digits().load("test", 100)
    outcome = target.run(to_unit(batch.inputs))
    assert target.utility(outcome.outputs, batch.references).mean().item() > 0.95
    share = target.prices.cost(outcome.work) / target.prices.cost(target.max_work(batch.inputs))
    assert share.mean().item() < 0.75
    assert len(set(share.tolist())) > 10  # work follows the input
