"""A gateway that others wrote, before a server whose log tells what came through: LiteLLM, where it is on the path."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked_endpoints import PROMPTS, write_texts
from fake_server import Behavior, FakeServer
from running_servers import free_port, running
from toy_audits import call

from torpor.serving.conform import Standing, conform
from torpor.serving.conform.probe import Configured
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.journal import NAME
from torpor.targets.endpoint.spending import Spending

LITELLM = shutil.which("litellm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LITELLM is None, reason="the proxy needs pip install 'litellm[proxy]', and litellm on the path"),
]
KEY = "sk-0123456789abcdef0123456789abcdef"
CONFIG = """
model_list:
  - model_name: fake
    litellm_params: {model: openai/fake, api_base: "%s", api_key: none}
"""


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FakeServer]]:
    """Run the proxy; how torpor calls it, and the server behind it."""
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    with FakeServer() as server:
        (folder / "config.yaml").write_text(CONFIG % server.address.removeprefix("openai:"))
        words = [str(LITELLM), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
        own = {"PYTHONPATH": "", "LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with running([*words, "--telemetry", "False"], port, own, folder) as address:
            yield address, server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", KEY)


def test_limits_hold_through_the_proxy(proxied: tuple[str, FakeServer]) -> None:
    address, _ = proxied
    with Client(Address.parse(address, "fake"), Spending(requests=150)) as client:
        found = {each.limit: each.standing for each in conform(client, Configured())}
    holding = ("headers", "usage", "max_tokens", "max_completion_tokens", "max_tokens when streaming", "stop", "n")
    assert {found[name] for name in holding} == {Standing.HOLDS}
    assert found["odd values"] is Standing.FAILS  # it answers NaN with a status of 500


def test_an_audit_through_the_proxy_costs_what_one_without_it_does(
    proxied: tuple[str, FakeServer], tmp_path: Path
) -> None:
    address, server = proxied
    inputs, rows = write_texts(tmp_path / "prompts.jsonl", PROMPTS[:1]), []
    for name, where in (("through", address), ("without", server.address)):
        server.log.clear()
        words = (
            "audit",
            where,
            "--model",
            "fake",
            "--inputs",
            inputs,
            "--eps",
            "2",
            "--attacks",
            "standard:queries=15",
        )
        code, _, err = call(*words, "--out", tmp_path / name)
        assert code == 0, err
        events = Counter(json.loads(line)["event"] for line in (tmp_path / name / NAME).read_text().splitlines())
        assert events["sent"] == events["answered"] == len(server.log)
        rows.append(json.loads((tmp_path / name / "audit.json").read_text())["summary"])
    told = ("attack", "cost_mean", "search_cost_mean", "gained_per_spent", "faults", "flags")
    one, other = ([{key: row[key] for key in told} for row in each] for each in rows)
    assert one == other
    assert {row["faults"] for row in one} == {None}
    written = (path for path in tmp_path.rglob("*") if path.is_file())
    assert not any(KEY.encode() in path.read_bytes() for path in written)


def test_a_wrong_bill_is_found_through_the_proxy(proxied: tuple[str, FakeServer], tmp_path: Path) -> None:
    address, server = proxied
    server.behavior = Behavior(faults=frozenset({"wrong-usage"}))
    inputs = write_texts(tmp_path / "prompts.jsonl", PROMPTS[:1])
    code, out, err = call("measure", address, "--model", "fake", "--inputs", inputs, "--json")
    server.behavior = Behavior()
    assert code == 0, err
    assert json.loads(out)["misbilled_rate"] == 1.0
