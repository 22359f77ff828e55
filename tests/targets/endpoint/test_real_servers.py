"""A server that others wrote: ``transformers serve`` with a small chat model, where its packages are installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from chat_models import chat_folder
from toy_audits import call

from torpor.serving.conform import Standing, conform
from torpor.serving.conform.probe import Configured
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.spending import Spending

MISSING = [name for name in ("fastapi", "uvicorn", "openai") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}: not installed"),
]
START_S = 120.0


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    """Serve a chat model; the address, and what the server calls the model."""
    port, folder = free_port(), str(chat_folder())
    words = [*("--host", "127.0.0.1"), *("--port", str(port)), *("--device", "cpu"), *("--log-level", "error"), folder]
    serve = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(serve, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            ends = time.monotonic() + START_S
            while not answers(port):
                assert run.poll() is None, "the server ended"
                assert time.monotonic() < ends, "the server does not start"
                time.sleep(0.2)
            yield f"openai:http://127.0.0.1:{port}/v1", folder
        finally:
            run.terminate()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def test_limits_of_a_real_server_are_told(served: tuple[str, str]) -> None:
    server, model = served
    with Client(Address.parse(server, model), Spending(requests=100)) as client:
        found = {each.limit: each.standing for each in conform(client, Configured())}
    holding = ("headers", "usage", "max_tokens", "max_completion_tokens", "max_tokens when streaming")
    assert {found[name] for name in holding} == {Standing.HOLDS}


def test_a_real_server_is_measured_and_audited(served: tuple[str, str], tmp_path: Path) -> None:
    server, model = served
    inputs = tmp_path / "prompts.jsonl"
    inputs.write_text('"the dog sat"\n"it rained on the cat"\n')
    base = (server, "--model", model, "--inputs", inputs, "--cap", "8")
    code, out, err = call("measure", *base, "--json")
    assert code == 0, err
    assert json.loads(out)["faults"] is None
    attack = ("--attacks", "standard:queries=8", "--norm", "suffix", "--eps", "20")
    code, _, err = call("audit", *base, *attack, "--out", tmp_path / "run")
    assert code == 0, err
    rows = json.loads((tmp_path / "run" / "audit.json").read_text())["summary"]
    assert {row["faults"] for row in rows} == {None}
    assert max(row["slowdown_mean"] for row in rows) > 1
