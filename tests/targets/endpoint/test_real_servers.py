"""A server that others wrote: ``transformers serve`` with a small chat model, where its packages are installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from chat_models import chat_folder
from running_servers import free_port, running
from toy_audits import call

from torpor.serving.conform import Standing, conform
from torpor.serving.conform.probe import Configured
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.spending import Spending

MISSING = [name for name in ("fastapi", "uvicorn", "openai", "accelerate") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}: not installed"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Serve a chat model; the address, and what the server calls the model."""
    port, folder = free_port(), str(chat_folder())
    words = [*("--host", "127.0.0.1"), *("--port", str(port)), *("--device", "cpu"), *("--log-level", "error"), folder]
    serve = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", *words]
    with running(serve, port, {"HF_HUB_OFFLINE": "1"}, tmp_path_factory.mktemp("served")) as address:
        yield address, folder


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
