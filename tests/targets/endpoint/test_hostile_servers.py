"""Servers that mean harm: every answer ends, in time and in bytes, and says what was wrong with it."""

from __future__ import annotations

import time

import pytest
from asked_endpoints import endpoint
from fake_server import Behavior, FakeServer

from torpor.core.errors import MeterError, UsageError
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import AnswerLimits, Client
from torpor.targets.endpoint.spending import Spending


def client_of(server: FakeServer, limits: AnswerLimits) -> Client:
    return Client(Address.parse(server.address, "fake"), Spending(), limits)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("redirects", "status 302"),
        ("broken-json", "a stream that broke off"),
        ("huge", "a stream that broke off"),
        ("gzip-bomb", "a compressed answer"),
    ],
)
def test_a_server_that_never_answers_ends_the_run_in_a_sentence(fault: str, said: str) -> None:
    with FakeServer(Behavior(faults=frozenset({fault}))) as server:
        with pytest.raises(MeterError, match=said):
            endpoint(server).run(("go",))
        assert len(server.log) == 1


def test_a_byte_a_time_in_the_headers_is_given_up() -> None:
    limits = AnswerLimits(total_s=0.4, idle_s=5.0)
    with FakeServer(Behavior(drip_s=0.05)) as server, client_of(server, limits) as client:
        began = time.monotonic()
        reply = client.chat("go", stream=True)
        assert time.monotonic() - began < 3
    assert reply.wrong == "an answer that did not end within 0.4 s"
    assert reply.status is None


def test_a_huge_answer_is_given_up() -> None:
    limits = AnswerLimits(bytes=2**20)
    with FakeServer(Behavior(faults=frozenset({"huge"}))) as server, client_of(server, limits) as client:
        reply = client.chat("go", stream=True)
    assert reply.wrong == "an answer of more than 1,048,576 bytes"


def test_the_key_that_a_server_sends_back_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", "sk-very-secret")
    with FakeServer(Behavior(echoes=True)) as server:
        (output,) = endpoint(server).run(("Count for 3 words.",)).outputs
        assert server.log[0][2]["Authorization"] == "Bearer sk-very-secret"
    assert "Bearer [key]" in output.text
    assert "sk-very-secret" not in repr(output)


def test_a_server_that_stops_to_answer_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.targets.endpoint.pace.FIRST_WAIT_S", 0.001)
    with FakeServer() as server:
        target = endpoint(server)
        target.run(("Count for 3 words.",))
        server.behavior.faults = frozenset({"gzip-bomb"})
        with pytest.raises(MeterError, match="got none to the last 5 requests"):
            target.score([f"Count for {number} words." for number in range(10, 30)])
        assert len(server.log) == 6


@pytest.mark.parametrize("key", ["sk-\n1", "sk-\u00e9"])
def test_a_key_that_no_header_can_hold_is_refused_without_saying_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", key)
    with FakeServer() as server:
        with pytest.raises(UsageError, match="printable ASCII") as error:
            endpoint(server).run(("go",))
        assert not server.log
    assert key not in str(error.value)
