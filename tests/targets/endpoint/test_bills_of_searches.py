"""What a search on an endpoint is billed: every request once, whoever asked it before."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from asked_endpoints import PROMPTS, endpoint, write_texts
from fake_server import Behavior, FakeServer
from toy_audits import records

from torpor.attacks.base import AttackResult
from torpor.attacks.deadline import TimeLimit
from torpor.attacks.registry import load_attack
from torpor.audits.request import request
from torpor.audits.run.limits import Limits
from torpor.core.conversation import Conversation
from torpor.core.stopwatch import Stopwatch
from torpor.defenses.registry import load_defense
from torpor.targets.base import Target
from torpor.targets.endpoint.served import ServedText
from torpor.targets.endpoint.target import EndpointTarget

FIRST, SECOND, THIRD = 4 + 7, 5 + 60, 7 + 12
"""Tokens of the prompts and their answers."""


def searched(target: Target, name: str, norm: str, text: str, eps: float) -> AttackResult:
    return load_attack(name, norm=norm, eps=eps)(target, (text,), deadline=TimeLimit(math.inf, Stopwatch()))


def test_a_request_is_billed_once_to_each_search() -> None:
    with FakeServer() as server:
        target, watch = endpoint(server), Stopwatch()
        watched = target.until(watch)
        watched.run(PROMPTS)  # before the search: nobody's bill
        for _ in range(2):
            watch.begin()
            watched.run((PROMPTS[0], PROMPTS[1], PROMPTS[0]))
            watched.score(PROMPTS)
            assert watch.bills == [FIRST, SECOND, 0, 0, 0, THIRD]
        watch.begin()
        watched.reseeded().run(PROMPTS[:1])
        watched.run(PROMPTS[:1])
        assert watch.bills == [FIRST, FIRST]
        watch.end()
        watched.run(PROMPTS)
        assert len(watch.bills) == 2
        assert len(server.log) == 4


def test_each_of_several_answers_is_billed() -> None:
    with FakeServer(Behavior(varies=True)) as server:
        watch = Stopwatch()
        watched = endpoint(server, temperature=0.7).until(watch)
        watch.begin()
        watched.run(PROMPTS[:1])
        assert watch.bills == [4 * FIRST + 1 + 2 + 3 + 4]
        watched.score(PROMPTS[:1])
        assert watch.bills[1:] == [0]


def test_a_search_without_limits_asks_all_at_once_and_one_with_limits_each_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, inner = list[int](), EndpointTarget._served

    def served(target: EndpointTarget, texts: Sequence[str]) -> list[ServedText]:
        asked.append(len(texts))
        return inner(target, texts)

    monkeypatch.setattr(EndpointTarget, "_served", served)
    with FakeServer() as server:
        watch = Stopwatch()
        watched = endpoint(server, parallel=3).until(watch)
        for until, queries in ((math.inf, math.inf), (time.time() + 1e6, math.inf), (math.inf, 9)):
            watch.begin(until, queries=queries)
            assert watch.limited is (until < math.inf or queries < math.inf)
            watched.run(PROMPTS)
            assert watched._room() == 3
    assert asked == [3, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "norm", "eps"),
    [
        ("standard-queries:queries=30", "chars", 2),
        ("standard-queries:queries=30", "suffix", 60),
        ("llmeffichecker-structure:queries=20", "words", 1),
        ("sponge-genetic:pool=6:epochs=2", "prompt", 32),
        ("repetition", "suffix", 30),
        ("overthink", "suffix", 400),
    ],
)
def test_bills_are_what_was_spent_and_tell_when_the_best_was_found(name: str, norm: str, eps: float) -> None:
    with FakeServer() as server:
        target = endpoint(server)
        result = searched(target, name, norm, PROMPTS[2], eps=eps)
        asked = {body["messages"][-1]["content"] for _, body, _ in server.log}
        costs = target.prices.cost(target.run(tuple(asked)).work).tolist()
    ((bills,), (curve,)) = result.candidates.bills or [], result.curves or []
    assert len(bills) == int(result.candidates.forwards + result.candidates.backwards)
    before = THIRD if name.startswith("sponge") else 0  # all others ask about the clean text, too
    assert sum(bills) == sum(costs) - before
    paid = [point.spent or -1.0 for point in curve]
    assert paid == sorted(paid)
    assert paid == [sum(bills[: point.passes]) for point in curve]
    assert all(spent >= point.cost for spent, point in zip(paid, curve, strict=True))


def test_a_turn_of_a_conversation_is_billed_with_all_before_it() -> None:
    said = [{"role": "user", "content": "Be brief."}, {"role": "assistant", "content": "So I am."}]
    with FakeServer() as server:
        target = endpoint(server)
        talk = Conversation.of([*said, {"role": "user", "content": PROMPTS[0]}])
        result = searched(target, "evolution:queries=12", "chars", target.space.snap((talk,))[0], eps=1)
    assert len((result.candidates.bills or [[]])[0]) == 12


def test_a_defended_endpoint_bills_too_and_a_target_here_bills_nothing() -> None:
    with FakeServer() as server:
        defended = load_defense("normalize").defend(endpoint(server))
        assert defended.elsewhere
        result = searched(defended, "evolution:queries=9", "chars", PROMPTS[0], eps=1)
    assert sum((result.candidates.bills or [[]])[0]) > 0


def test_an_audit_without_any_limit_records_the_same_as_one_with_limits(tmp_path: Path) -> None:
    found = list[list[dict[str, Any]]]()
    for limits in (Limits(), Limits(queries=100_000)):
        with FakeServer() as server:
            target = endpoint(server, parallel=4)
            asked = request(
                target,
                inputs=write_texts(tmp_path / "prompts.jsonl", PROMPTS[:1]),
                attacks="standard:queries=10",
                eps="2",
            )
            asked.run(tmp_path / f"run{len(found)}", limits=limits)
        table = records(tmp_path / f"run{len(found)}")
        found.append(table.select(["sample", "attack", "cost", "forwards", "search_cost", "curve"]).to_pylist())
    assert found[0] == found[1]
    assert all((row["search_cost"] is None) is (row["attack"] == "clean") for row in found[0])
    assert any(row["search_cost"] for row in found[0])
