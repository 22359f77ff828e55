"""Servers that mean harm: every answer ends, in time and in bytes, and says what was wrong with it."""

from __future__ import annotations

import time

import pytest
from asked_endpoints import endpoint
from fake_server import Asked, Behavior, FakeServer

from torpor.core.errors import MeterError, UsageError
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import BEGUN, HIDDEN, AnswerLimits, Client
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


@pytest.mark.parametrize(("fault", "status"), [("drips-headers", None), ("drips-body", 200)])
def test_a_byte_a_time_is_given_up(fault: str, status: int | None) -> None:
    limits = AnswerLimits(total_s=0.4, idle_s=5.0)
    with FakeServer(Behavior(faults=frozenset({fault}))) as server, client_of(server, limits) as client:
        began = time.monotonic()
        reply = client.chat("go", stream=True)
        assert time.monotonic() - began < 3
    assert reply.wrong == "an answer that did not end within 0.4 s"
    assert reply.status == status


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


@pytest.mark.parametrize("before", [0, 270, 285, 292, 400])
def test_the_key_is_not_kept_where_a_text_is_cut_in_it(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("TORPOR_API_KEY", key)
    monkeypatch.setattr(Asked, "problem", lambda asked: "x" * before + asked.secret.removeprefix("Bearer "))
    with FakeServer(Behavior(echoes=True)) as server, client_of(server, AnswerLimits()) as client:
        reply = client.chat("go")
    assert reply.status == 400
    assert reply.error.startswith("x" * min(before, 290))
    assert key[:BEGUN] not in reply.error


def test_the_beginning_of_the_key_is_not_kept_where_an_answer_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("TORPOR_API_KEY", key)
    monkeypatch.setattr(Asked, "words", lambda asked: ((False, each) for each in key))
    monkeypatch.setattr(Asked, "part", lambda asked, at, word: {"index": at, "delta": {"content": word[1]}})
    with FakeServer() as server, client_of(server, AnswerLimits()) as client:
        reply = client.chat("go", stream=True, abort_after=20)
    assert reply.aborted
    assert reply.text == HIDDEN


def test_a_bill_that_no_request_can_have_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = {"usage": {"prompt_tokens": 10**30, "completion_tokens": 10**30}}
    monkeypatch.setattr(FakeServer, "_bill", lambda server, asked, words: huge)
    with FakeServer() as server:
        outcome = endpoint(server).run(("Count for 3 words.",))
    assert outcome.work.counts.tolist() == [[4, 4, 3, 0, 1, 0]]


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
