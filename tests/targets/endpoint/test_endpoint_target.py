"""An endpoint as a target: what it counts, what it may count at most, and what it says of a server that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from asked_endpoints import PROMPTS, endpoint, sent
from fake_server import Behavior, FakeServer

from torpor.attacks.registry import default_attacks, load_attack
from torpor.core.conversation import Conversation
from torpor.core.errors import MeterError, UsageError
from torpor.data.own import own_inputs
from torpor.targets.endpoint.question import TEMPLATE


def faulty(*faults: str, **more: object) -> Behavior:
    return Behavior(faults=frozenset(faults), **more)  # type: ignore[arg-type]


def test_work_is_what_the_server_bills() -> None:
    with FakeServer(Behavior(cached=2)) as server:
        target = endpoint(server)
        outcome = target.run(PROMPTS)
        tokens = target.prices.cost(outcome.work).tolist()
    assert outcome.work.counts.tolist() == [
        [4, 2, 7, 0, 1, 0],
        [5, 3, 60, 40, 1, 0],
        [7, 5, 12, 0, 1, 0],
    ]
    assert tokens == [11, 65, 19]
    assert outcome.outputs[0].text.split() == list("1234567")
    assert all(not output.faults for output in outcome.outputs)
    assert [body["max_tokens"] for _, body, _ in server.log] == [256] * 3


def test_prices_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        "date = 2026-11-28\n[per_million]\nprompt = 2\ncached = 1\noutput = 10\nreasoning = 20\n"
    )
    with FakeServer(Behavior(cached=2)) as server:
        target = endpoint(server, prices=tmp_path / "p.toml")
        cost = target.prices.cost(target.run(PROMPTS[1:2]).work).item()
    assert target.prices.currency == "dollars"
    assert cost == pytest.approx((3 * 2 + 2 * 1 + 20 * 10 + 40 * 20) / 1e6)
    assert target.spending.spent == pytest.approx(cost)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_static_bound_is_that_of_the_request(api: str) -> None:
    with FakeServer() as server:
        target = endpoint(server, cap=16, api=api)
        bound, work = target.max_work(PROMPTS), target.run(PROMPTS).work
    assert (work.counts <= bound.counts).all()
    assert (bound.counts <= target.static_work().counts).all()
    assert bound.counts[:, 2].tolist() == [16, 16, 16]
    prompt = len(PROMPTS[0]) + TEMPLATE + (8 if api == "chat" else 0)
    assert bound.counts[0].tolist() == [prompt, prompt, 16, 16, 1, 0]
    assert endpoint(server, cap=16, context=100).max_work(PROMPTS).counts[:, 0].tolist() == [100] * 3


def test_a_cap_that_does_not_hold_is_found_and_bounds_nothing() -> None:
    with FakeServer(faulty("ignores-max-tokens")) as server:
        target = endpoint(server, cap=16)
        outcome = target.run(("Count for 40 words.",))
        bound = target.max_work(("Count for 40 words.",))
    assert outcome.outputs[0].faults[0].told == "40 tokens, 16 were asked for at most"
    assert outcome.work.counts[0, 2] == bound.counts[0, 2] == 40
    assert (bound.counts <= target.static_work().counts).all()


def test_an_answer_that_goes_on_is_hung_up_on() -> None:
    with FakeServer(faulty("endless")) as server:
        target = endpoint(server, cap=8)
        (output,) = target.run(("go",)).outputs
    assert output.reply is not None
    assert output.reply.aborted
    assert output.reply.pieces == 8 * 4 + 64
    assert "8 were asked for at most" in output.faults[0].told


def test_a_bill_that_is_not_what_was_seen_is_a_fault_and_does_not_count() -> None:
    for fault, told in (("wrong-usage", "1 token billed for an answer of 12 at least"), ("no-usage", "nothing billed")):
        with FakeServer(faulty(fault)) as server:
            outcome = endpoint(server).run(("Count for 12 words.",))
        assert [each.told for each in outcome.outputs[0].faults] == [told]
        assert outcome.work.counts[0, 2] == 12


def test_conversations_are_sent_whole_and_the_turn_is_edited(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Count for 3 words."}]
    tools = [{"type": "function", "function": {"name": "look"}}]
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps({"messages": messages, "tools": tools}) + "\n")
    with FakeServer() as server:
        target = endpoint(server)
        inputs = target.read(own_inputs(path, target.space).load("test", 1).inputs)
        result = load_attack("evolution:queries=30", norm="chars", eps=1)(target, inputs, seed=0)
        bodies = [body for _, body, _ in server.log]
    assert all(body["messages"][0] == messages[0] and body["tools"] == tools for body in bodies)
    assert result.attacked.work.counts[0, 2] > result.clean.work.counts[0, 2] == 3
    assert target.space.to_bytes(result.inputs)[0].startswith("\x1e")
    with FakeServer() as server, pytest.raises(UsageError, match="which the API completions does not take"):
        endpoint(server, api="completions").run((Conversation.of(messages),))


def test_an_attacked_input_is_judged_by_another_answer_than_it_was_chosen_by() -> None:
    with FakeServer(Behavior(varies=True)) as server:
        target = endpoint(server)
        assert target.score(PROMPTS[:1]).tolist() == target.score(PROMPTS[:1]).tolist() == [8]
        (again,) = target.reseeded().run(PROMPTS[:1]).outputs
    assert again.counts[2] == 9
    assert again.varies is True
    assert len(server.log) == 2


def test_sampled_answers_are_asked_several_times_and_the_middle_one_counts() -> None:
    with FakeServer(Behavior(varies=True)) as server:
        target = endpoint(server, temperature=0.7)
        (output,) = target.run(PROMPTS[:1]).outputs
    assert len(server.log) == 4
    assert sorted(sent(server).values()) == [1] * 4
    assert [body["temperature"] for _, body, _ in server.log] == [0.7] * 4
    assert (output.counts[2], output.varies, output.asked) == (9, True, 4)


def test_what_fails_for_now_is_asked_again_and_what_fails_for_good_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.targets.endpoint.pace.FIRST_WAIT_S", 0.001)
    with FakeServer(Behavior(unavailable=2)) as server:
        assert endpoint(server).run(PROMPTS[:1]).work.counts[0, 2] == 7
        assert len(server.log) == 3
    with FakeServer(Behavior(unavailable=99)) as server:
        with pytest.raises(MeterError, match="got none to the first request"):
            endpoint(server).run(PROMPTS[:1])
        assert len(server.log) == 5
    with FakeServer(Behavior(context=2)) as server:
        with pytest.raises(MeterError, match="status 400: the prompt is longer than the context"):
            endpoint(server).run(PROMPTS[:1])
        assert len(server.log) == 1


def test_requests_in_parallel_are_those_of_one_after_the_other() -> None:
    found = []
    for parallel in (1, 4):
        with FakeServer() as server:
            target = endpoint(server, parallel=parallel)
            found.append((target.run(PROMPTS * 2).work.counts, sorted(sent(server).items())))
    assert torch.equal(found[0][0], found[1][0])
    assert len(found[0][1]) == len(found[1][1]) == len(PROMPTS)


def test_a_rate_is_kept() -> None:
    with FakeServer() as server:
        target = endpoint(server, per_minute=1200)
        target.run(PROMPTS)
        times = [reply.seconds for reply in (output.reply for output in target.run(PROMPTS).outputs) if reply]
    assert len(times) == 3
    assert len(server.log) == 3


def test_a_black_box_has_black_box_attacks() -> None:
    with FakeServer() as server:
        target = endpoint(server)
        assert default_attacks(target) == ("standard-queries:queries=100",)
        for name, norm in (("nmtsloth-char", "chars"), ("engorgio", "prompt"), ("loopllm", "suffix")):
            with pytest.raises(UsageError, match="see: torpor list attacks"):
                load_attack(name, norm=norm)(target, PROMPTS)
        with pytest.raises(UsageError, match="a black box"):
            target.signals(PROMPTS)
        assert not server.log


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("evolution:queries=40", "chars"),
        ("evolution:queries=40", "words"),
        ("standard-text:queries=40", "chars"),
        ("standard-text:queries=40", "suffix"),
        ("standard-text:queries=40", "prompt"),
        ("llmeffichecker-structure", "words"),
    ],
)
def test_attacks_without_gradients_run_within_their_queries(name: str, norm: str) -> None:
    with FakeServer() as server:
        target = endpoint(server)
        attack = load_attack(name, norm=norm, eps=2)
        result = attack(target, PROMPTS[:1], seed=0)
        count = len(server.log)
    queries = getattr(attack, "queries", 200)
    assert result.candidates.forwards.item() <= queries
    assert count <= queries + 2
    assert result.candidates.backwards.item() == 0
    assert result.candidates.zero_gradient is None
    assert (result.attacked.work.counts[0, 2] >= result.clean.work.counts[0, 2]).item()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cap": 0}, "cap of 1 or more"),
        ({"cap": "many"}, "a whole number"),
        ({"temperature": -1}, "a temperature of 0 or more"),
        ({"parallel": 0}, "1 to 64 requests"),
        ({"per_minute": 0}, "per_minute above 0"),
        ({"api": "soap"}, "chat or completions"),
        ({"colour": 1}, "got 'colour'"),
        ({"prices": "none.toml"}, "a price file"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(options: dict[str, object], said: str) -> None:
    with FakeServer() as server, pytest.raises(UsageError, match=said):
        endpoint(server, **options)
