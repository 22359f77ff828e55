"""The example server keeps the limits that it offers."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
CHAT = {"messages": [{"role": "user", "content": "Who is on the stage?"}]}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    sys.path.insert(0, str(EXAMPLES))
    from serve_model import serve

    with serve() as server:
        threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, body: Mapping[str, Any], path: str = "/v1/chat/completions") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(body))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_caps_hold_whole_and_streamed(port: int) -> None:
    free = json.loads(ask(port, CHAT)[1])
    capped = json.loads(ask(port, {**CHAT, "max_tokens": 3})[1])
    assert free["usage"]["completion_tokens"] > 3
    assert capped["usage"]["completion_tokens"] == 3
    assert capped["choices"][0]["finish_reason"] == "length"
    text = free["choices"][0]["message"]["content"]
    assert text.startswith(capped["choices"][0]["message"]["content"])
    _, lines = ask(port, {**CHAT, "stream": True})
    events = [json.loads(line.removeprefix("data: ")) for line in lines.splitlines() if line.startswith("data: {")]
    parts = [choice["delta"].get("content", "") for event in events for choice in event["choices"]]
    assert "".join(parts) == text
    assert events[-1]["usage"] == free["usage"]


def test_a_stop_string_ends_an_answer(port: int) -> None:
    text = json.loads(ask(port, CHAT)[1])["choices"][0]["message"]["content"]
    stop = text.split()[2]
    stopped = json.loads(ask(port, {**CHAT, "stop": stop})[1])["choices"][0]
    assert stopped["message"]["content"] == text[: text.index(stop)]
    assert stopped["finish_reason"] == "stop"
    exact = json.loads(ask(port, {**CHAT, "stop": stop, "max_tokens": 3})[1])["choices"][0]
    assert exact["message"] == stopped["message"]
    assert exact["finish_reason"] == "stop"  # at the cap, too


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": "8"},
        {"n": 5},
        {"logprobs": True},
        {"best_of": 2},
        {"messages": []},
        {"stop": [""]},
        {"temperature": 1.0},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"content": [{"text": "a"}]}]},
    ],
)
def test_what_it_does_not_offer_is_refused(port: int, wrong: dict[str, Any]) -> None:
    status, told = ask(port, {**CHAT, **wrong})
    assert status == 400
    assert json.loads(told)["error"]["message"].startswith("expected")


def test_prompts_longer_than_the_context_are_refused(port: int) -> None:
    status, told = ask(port, {"prompt": "word " * 600}, "/v1/completions")
    assert status == 400
    assert "expected fewer than 512 tokens" in told
    assert json.loads(ask(port, {"prompt": "A man", "max_tokens": 2}, "/v1/completions")[1])["choices"][0]["text"]
    assert ask(port, CHAT, "/v1/embeddings")[0] == 400
