"""Addresses, answers and limits of what is sent to an endpoint."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asked_endpoints import endpoint
from fake_server import Behavior, FakeServer

from torpor.core.errors import UsageError
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import AnswerLimits, Client
from torpor.targets.endpoint.prices import TokenPrices
from torpor.targets.endpoint.reply import Choice, Reply, Usage
from torpor.targets.endpoint.spending import LimitReachedError, Spending


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("http://127.0.0.1/v1", "expected openai:http://HOST:PORT/v1"),
        ("openai:ftp://127.0.0.1/v1", "expected openai:http://HOST:PORT/v1"),
        ("openai:http://127.0.0.1:99999/v1", "expected openai:http://HOST:PORT/v1"),
        ("openai:http://me:pass@127.0.0.1/v1", "without a user or password"),
        ("openai:http://127.0.0.1/v1#model=m&cap=3", "got 'cap'"),
        ("openai:http://127.0.0.1/v1", "expected the name of a model"),
    ],
)
def test_what_is_no_address_is_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        Address.parse(name)
    assert "pass@" not in str(error.value)


def test_a_streamed_answer_is_that_of_a_whole_one() -> None:
    with FakeServer() as server, Client(Address.parse(server.address, "fake"), Spending()) as client:
        whole = client.chat("please think for 60 words")
        streamed = client.chat("please think for 60 words", stream=True)
    assert whole.usage == streamed.usage == Usage(5, 60, reasoning=40)
    assert whole.text == streamed.text.strip() == " ".join(str(number) for number in range(1, 21))
    assert (whole.pieces, streamed.pieces) == (0, 60)
    assert whole.words == streamed.words == 60
    assert 0 < streamed.seconds_first <= streamed.seconds


def test_a_server_that_refuses_streams_is_asked_for_whole_answers() -> None:
    with FakeServer(Behavior(streams=False)) as server:
        target = endpoint(server)
        outcome = target.run(("Count for 7 words.", "Count for 9 words."))
        asked = ["stream_options" in body for _, body, _ in server.log]
    assert asked == [True, False, False]
    assert [output.counts[2] for output in outcome.outputs] == [7, 9]
    assert [output.faults for output in outcome.outputs] == [(), ()]
    assert target.spending.sent == 3


def test_an_endless_answer_is_given_up_and_booked() -> None:
    spending = Spending(prices=TokenPrices(output=1e6))
    limits = AnswerLimits(total_s=0.3)
    endless = Behavior(faults=frozenset({"endless"}))
    with FakeServer(endless) as server, Client(Address.parse(server.address, "fake"), spending, limits) as client:
        reply = client.chat("go", stream=True)
    assert "did not end within 0.3 s" in reply.wrong
    assert spending.spent >= reply.pieces > 0


def test_the_limit_on_dollars_is_passed_by_at_most_one_request_whatever_a_server_bills() -> None:
    rng = random.Random(0)
    for _ in range(1000):
        spending = Spending(cost=1.0, prices=TokenPrices(prompt=1e5, output=1e5))
        truth, dearest = 0.0, 0.0
        while True:
            try:
                spending.begin()
            except LimitReachedError:
                break
            words = rng.randrange(1, 8)
            billed = rng.choice([None, Usage(1, 0), Usage(1, rng.randrange(1000))])
            reply = Reply(200, (Choice("word " * words),), billed, pieces=words)
            spending.end("word", reply)
            cost = spending.prices.cost(1, words)
            truth, dearest = truth + cost, max(dearest, cost)
        assert truth <= 1.0 + dearest


def test_what_a_lying_server_is_paid_passes_the_limit_by_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, prices = random.Random(2), TokenPrices(prompt=5e4, output=5e4)
    lies = ({}, {"usage": 3}, *({"usage": {"prompt_tokens": 1, "completion_tokens": few}} for few in (0, 1, 10**7)))
    monkeypatch.setattr(FakeServer, "_bill", lambda server, asked, words: rng.choice(lies))

    def spends(client: Client) -> list[float]:
        client.spending, costs = Spending(cost=1.0, prices=prices), list[float]()
        while True:
            wrote = rng.randrange(4, 14)
            try:
                client.chat(f"for {wrote} words", stream=rng.random() < 0.5)
            except LimitReachedError:
                return costs
            costs.append(prices.cost(3, wrote))

    with FakeServer() as server, Client(Address.parse(server.address, "fake"), Spending()) as client:
        tries = [spends(client) for _ in range(1000)]
        assert len(server.log) == sum(map(len, tries)) > 1000
    assert all(sum(costs) <= 1.0 + max(costs) for costs in tries)


def test_requests_in_parallel_wait_until_they_fit() -> None:
    prices, rng = TokenPrices(prompt=1e5, output=1e5), random.Random(1)
    for _ in range(50):
        spending, most = Spending(cost=2.0, prices=prices), prices.cost(1, 8)
        words = [rng.randrange(1, 9) for _ in range(40)]

        def ask(count: int, spending: Spending = spending, most: float = most) -> int:
            try:
                spending.begin(most)
            except LimitReachedError:
                return 0
            time.sleep(0)
            spending.end("word", Reply(200, (Choice("word " * count),), Usage(1, 0), pieces=count), most)
            return 1

        with ThreadPoolExecutor(4) as pool:
            sent = sum(pool.map(ask, words))
        assert spending.sent == sent
        assert 2.0 <= spending.spent <= 2.0 + most


def test_a_request_of_which_nothing_came_back_is_booked_at_its_most() -> None:
    spending = Spending(cost=1.0)
    spending.begin(0.4)
    spending.lost(0.4)
    spending.begin(0.7)
    spending.lost(0.7)
    with pytest.raises(LimitReachedError) as error:
        spending.begin(0.1)
    assert error.value.limit == "cost"
    assert spending.spent == pytest.approx(1.1)
