"""Expert routing: the router's own choices to the token, FLOPs to the FLOP, bounds that hold, guards that bind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from expert_targets import CHOSEN, EXPERTS, LAYERS, TEXTS, experts, mixtral, tokenizer

from torpor.core.errors import UsageError
from torpor.core.work import Work
from torpor.meters.flops import counting
from torpor.targets.experts.adapter import expert_parallel
from torpor.targets.experts.loads import Placement
from torpor.targets.experts.target import ExpertTarget


def chosen_by_transformers(text: str) -> list[list[list[int]]]:
    """Return the experts of each token in each layer, by the scores that transformers itself reports."""
    ids = torch.tensor([tokenizer()(text).input_ids])
    with torch.no_grad():
        scores = mixtral()(ids, output_router_logits=True).router_logits
    return [[sorted(range(EXPERTS), key=lambda e: -row[e])[:CHOSEN] for row in layer.tolist()] for layer in scores]


def by_hand(text: str, devices: int, capacity: int | None = None) -> dict[str, int]:
    """Count what happens to a text, token by token, by another road than the target's."""
    found, per = {"assigned": 0, "busiest": 0, "dropped": 0}, EXPERTS // devices
    for layer in chosen_by_transformers(text)[: 1 if capacity else LAYERS]:
        room = len(layer) if capacity is None else -(-len(layer) * CHOSEN * capacity // (100 * EXPERTS))
        taken: Counter[int] = Counter()
        for token in layer:
            for expert in token:
                if taken[expert] < room:
                    taken[expert] += 1
                else:
                    found["dropped"] += 1
        loads = Counter[int]()
        for expert, count in taken.items():
            loads[expert // per] += count
        found["assigned"] += sum(taken.values())
        found["busiest"] += max(loads.values())
    return found


@pytest.mark.parametrize("devices", [8, 4, 2, 1])
def test_loads_are_those_of_the_routers_of_transformers(devices: int) -> None:
    target = experts(devices)
    ran = target.balance(target.run(TEXTS).work)
    for row, text in enumerate(TEXTS):
        own = {name: int(values[row]) for name, values in ran.items()}
        assert own == {**by_hand(text, devices), "moved": 0}


def test_full_experts_drop_the_last_tokens() -> None:
    target = experts().with_capacity(120)
    loads = target.loads(target.run(TEXTS).work)
    for row, text in enumerate(TEXTS):  # of the first layer: what was dropped there changes what later ones choose
        assert int(loads[row, 0].sum()) == by_hand(text, 8, 120)["assigned"]
        assert int(loads[row, 0].max()) == by_hand(text, 8, 120)["busiest"]
    assert (target.balance(target.run(TEXTS).work)["dropped"] > 0).all()


def test_outputs_are_those_of_transformers() -> None:
    outputs = experts().run(TEXTS).outputs
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            known = mixtral()(torch.tensor([tokenizer()(text).input_ids])).logits[0, -1]
        assert torch.allclose(outputs[row], known, atol=1e-5)


def variants() -> dict[str, ExpertTarget]:
    target = experts()
    return {
        "plain": target,
        "4 devices": target.with_devices(4),
        "capacity": target.with_capacity(100),
        "spread": target.with_spread(100),
        "both": target.with_devices(2).with_capacity(150).with_spread(110),
    }


@pytest.mark.parametrize("name", list(variants()))
def test_work_is_exact_alone_in_a_batch_and_below_the_bound(name: str) -> None:
    target = variants()[name]
    outcome = target.run(TEXTS)
    for row in range(len(TEXTS)):
        with counting() as counter:
            alone = target.run(TEXTS[row : row + 1])
        assert alone.work.counts.equal(outcome.work.counts[row : row + 1])
        assert torch.allclose(alone.outputs[0], outcome.outputs[row], atol=1e-5)
        tokens = int(alone.work.counts[0, 1])
        assigned = int(target.balance(alone.work)["assigned"])
        assert counter.flops == target.grown.at(tokens) + assigned * target.of_expert
    bound = target.max_work(TEXTS).counts
    assert (outcome.work.counts <= bound).all()
    assert (bound <= target.static_work().counts).all()
    assert (target.least_work().counts <= outcome.work.counts).all()


def test_prices_share_out_what_no_expert_does() -> None:
    one, eight = experts(1), experts(8)
    work = one.run(TEXTS).work
    assert [unit.flops for unit in one.units[:3]] == list(one.grown)
    assert [unit.flops for unit in eight.units[:3]] == [-(-flops // 8) for flops in eight.grown]
    assert one.with_devices(8).units == eight.units
    whole = sum(one.grown.at(int(row[1])) for row in work.counts) + int(one.balance(work)["assigned"].sum()) * 1152
    assert one.prices.cost(work).sum() == whole


def test_repetition_reaches_the_theoretical_maximum() -> None:
    for devices in (8, 4):
        target = experts(devices)
        assert target.placement.most_imbalance == 4
        length, loads = torch.tensor([10]), torch.zeros(1, LAYERS, EXPERTS, dtype=torch.int64)
        loads[..., :CHOSEN] = 10
        work = target._work(length, loads, torch.zeros(1, dtype=torch.int64))
        assert target.prices.cost(work) == target.prices.cost(Work(target.most(length)))
        ran = target.balance(work)
        assert int(ran["busiest"]) == 4 * int(ran["assigned"]) / devices


def test_other_devices_compute_what_is_too_much_without_a_change_of_outputs() -> None:
    target = experts()
    spread, plain = target.with_spread(100).run(TEXTS), target.run(TEXTS)
    assert spread.outputs.equal(plain.outputs)
    ran, before = target.balance(spread.work), target.balance(plain.work)
    even = sum(-(-target.loads(plain.work)[:, layer].sum(1) // 8) for layer in range(LAYERS))
    assert ran["busiest"].equal(torch.as_tensor(even))
    assert ran["assigned"].equal(before["assigned"])
    assert (ran["moved"] >= before["busiest"] - ran["busiest"]).all()
    assert (ran["moved"] > 0).all()


def test_what_cannot_be_is_refused() -> None:
    transformers: Any = pytest.importorskip("transformers")
    with pytest.raises(UsageError, match="divides the 8 experts, got 3"):
        experts(3)
    with pytest.raises(UsageError, match="capacity of 1 %"):
        Placement(8, 2, 8, capacity=0)
    with pytest.raises(UsageError, match="spread at 100 %"):
        experts().with_spread(99)
    with pytest.raises(UsageError, match="sliding window of 4"):
        expert_parallel(mixtral(4), tokenizer(), devices=8)
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(UsageError, match="kind mixtral, olmoe, qwen2_moe, qwen3_moe, got llama"):
        expert_parallel(transformers.LlamaForCausalLM(config), tokenizer(), devices=1)
