"""A batch that shares buffers: whose tokens are dropped, counted token by token by another road."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from expert_targets import CHOSEN, EXPERTS, TEXTS, batched, experts, mixtral, tokenizer

from torpor.core.errors import UsageError
from torpor.core.units import Unit
from torpor.targets.experts.batch import ExpertBatchTarget
from torpor.targets.experts.loads import Placement

INPUTS = TEXTS[3:]


def dropped_in_the_first_layer(text: str, target: ExpertBatchTarget, capacity: int) -> list[int]:
    """Return what each text of a batch loses in the first layer, in the order of the batch."""
    batch = [tokenizer()(one).input_ids for one in (text, *target.neighbors)]
    room = -(-sum(map(len, batch)) * CHOSEN * capacity // (EXPERTS * 100))
    taken, lost = Counter[int](), []
    for ids in batch:
        with torch.no_grad():
            scores = mixtral()(torch.tensor([ids]), output_router_logits=True).router_logits[0]
        lost.append(0)
        for row in scores.tolist():
            for expert in sorted(range(EXPERTS), key=lambda e: -row[e])[:CHOSEN]:
                taken[expert] += 1
                lost[-1] += taken[expert] > room
    return lost


@pytest.mark.parametrize("capacity", [60, 100, 150])
def test_the_first_of_a_batch_find_room(capacity: int) -> None:
    target = batched(capacity)
    rows = [target.tokenized((text, *target.neighbors)) for text in INPUTS]
    for text, row in zip(INPUTS, rows, strict=True):
        found = target.routed(row, together=4)[1]
        assert found.dropped[:, 0].tolist() == dropped_in_the_first_layer(text, target, capacity)


def test_work_is_exact_whatever_is_asked_beside_it_and_below_the_bound() -> None:
    for target in (batched(), batched(60), batched().with_slack(300)):
        outcome = target.run(INPUTS)
        for row in range(len(INPUTS)):
            assert target.run(INPUTS[row : row + 1]).work.counts.equal(outcome.work.counts[row : row + 1])
        bound = target.max_work(INPUTS).counts
        assert (outcome.work.counts <= bound).all()
        assert (bound <= target.static_work().counts).all()
        assert (target.least_work().counts <= outcome.work.counts).all()
        assert (target.prices.cost(outcome.work) >= 1).all()


def test_with_room_for_all_nobody_loses_anything() -> None:
    target = batched(EXPERTS * 100 // CHOSEN)
    hit = target.hit(target.run(INPUTS).work)
    assert int(hit["neighbor_drops"].sum()) == int(hit["neighbor_changes"].sum()) == 0
    assert target.prices.cost(target.static_work()) == 1
    alone = experts().run((*INPUTS, *TEXTS[:3])).outputs
    assert torch.allclose(target.run(INPUTS).outputs, alone[: len(INPUTS)], atol=1e-5)
    assert target.undisturbed.equal(alone[len(INPUTS) :].argmax(-1))


def test_the_record_names_the_batch_and_what_costs_is_what_others_lose() -> None:
    target = batched(60)
    work = target.run(INPUTS).work
    assert target.prices.currency == "drops"
    assert target.prices.cost(work).equal(1.0 + target.hit(work)["neighbor_drops"].double())
    assert target.details()["neighbors"] == list(TEXTS[:3])
    assert target.fingerprint() != batched(61).fingerprint()
    with pytest.raises(UsageError, match="what others lose, got layer"):
        target.price((*target.units, Unit("layer", 1)))
    columns = target.family.observe(target, target.run(INPUTS), target.run(INPUTS), target.max_work(INPUTS), ())
    row = target.family.summarize(target, target, columns)
    assert 0 < row["neighbor_drop_share"] < 1
    profile = target.family.profile(target, work, ())
    assert profile["neighbor_drop_share"] == pytest.approx(row["neighbor_drop_share"])
    assert profile["imbalance_mean"] == pytest.approx(row["imbalance_mean"])


def test_a_batch_needs_neighbors_and_a_capacity() -> None:
    known = batched()
    for placement, neighbors, said in (
        (Placement(8, 2, 8), TEXTS, "capacity of experts"),
        (Placement(8, 2, 8, capacity=100), (), "neighbors in the batch"),
    ):
        with pytest.raises(UsageError, match=said):
            ExpertBatchTarget(known.module, known.codec, placement, neighbors, longest=48)
