"""The suite finds every fault of a server that can be told to have it, and none of one that has none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fake_server
import pytest
import typer
from fake_server import FAULTS, Behavior, FakeServer
from typer.testing import CliRunner, Result

from torpor.cli.conform import conform as conform_verb
from torpor.core.errors import MeterError, UsageError
from torpor.serving.conform import CHECKS, Finding, Standing, conform
from torpor.serving.conform.probe import Configured, Probe
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import AnswerLimits, Client
from torpor.targets.endpoint.prices import TokenPrices
from torpor.targets.endpoint.spending import Spending

app = typer.Typer()
app.command()(conform_verb)

SERIAL = Behavior(token_s=0.02)
QUOTA = Behavior(tokens_per_minute=400, window_s=0.6)
PARALLEL = Behavior(token_s=0.003, parallel=2)
DOLLARS = Behavior(dollars=0.5)
TIMEOUT = Behavior(token_s=0.005, timeout_s=0.4)

FOUND = {
    "ignores-max-tokens": ("max_tokens", Standing.OVERSHOOTS, Behavior()),
    "ignores-completion-tokens": ("max_completion_tokens", Standing.OVERSHOOTS, Behavior()),
    "ignores-stop": ("stop", Standing.BYPASSED, Behavior()),
    "many-choices": ("n", Standing.BYPASSED, Behavior()),
    "many-logprobs": ("logprobs", Standing.OVERSHOOTS, Behavior()),
    "ignores-thinking-budget": ("thinking budget", Standing.OVERSHOOTS, Behavior()),
    "long-prompts": ("context length", Standing.OVERSHOOTS, Behavior()),
    "ignores-timeout": ("timeout", Standing.OVERSHOOTS, TIMEOUT),
    "keeps-computing": ("client abort", Standing.BYPASSED, SERIAL),
    "streams-on": ("max_tokens when streaming", Standing.OVERSHOOTS, Behavior()),
    "takes-odd-values": ("odd values", Standing.BYPASSED, Behavior()),
    "fails-on-odd-values": ("odd values", Standing.FAILS, Behavior()),
    "counts-requests": ("tokens per minute", Standing.BYPASSED, replace(QUOTA, tokens_per_minute=20, window_s=3.0)),
    "late-quota": ("tokens per minute, in parallel", Standing.BYPASSED, QUOTA),
    "no-quota": ("tokens per minute", Standing.OVERSHOOTS, QUOTA),
    "no-usage": ("usage", Standing.FAILS, Behavior()),
    "wrong-usage": ("usage", Standing.FAILS, Behavior()),
    "endless": ("max_tokens when streaming", Standing.OVERSHOOTS, Behavior()),
    "huge": ("max_tokens", Standing.FAILS, Behavior()),
    "broken-json": ("max_tokens", Standing.FAILS, Behavior()),
    "gzip-bomb": ("max_tokens", Standing.FAILS, Behavior()),
    "no-parallel-limit": ("parallel requests", Standing.OVERSHOOTS, PARALLEL),
    "no-dollar-limit": ("dollars per key", Standing.OVERSHOOTS, DOLLARS),
    "drips-headers": ("headers", Standing.FAILS, Behavior()),
    "drips-body": ("max_tokens", Standing.FAILS, Behavior()),
    "redirects": ("headers", Standing.FAILS, Behavior()),
}
"""Of each fault: the limit that shows it, how, and what else the server must be like for it to show."""
IMPATIENT = AnswerLimits(connect_s=2.0, idle_s=2.0, total_s=8.0, bytes=2**20)
HASTY = replace(IMPATIENT, total_s=0.3)
"""For answers that never end."""

TRIES = 5
"""How often a limit that shows in times is looked at, while a busy machine hides it: conform says so, and is right."""


def client_of(server: FakeServer, spending: Spending | None = None) -> Client:
    dollars = TokenPrices(*(1e6 * fake_server.DOLLARS,) * 2)
    limits = HASTY if server.has("drips-body") else IMPATIENT
    return Client(Address.parse(server.address, "fake"), spending or Spending(300, prices=dollars), limits)


def configured(behavior: Behavior) -> Configured:
    return Configured(
        timeout_s=behavior.timeout_s,
        tokens_per_minute=behavior.tokens_per_minute,
        window_s=behavior.window_s,
        parallel=behavior.parallel,
        dollars=behavior.dollars,
    )


def looked_at(limit: str, behavior: Behavior, tries: int = TRIES) -> Finding:
    """See what a fresh server shows of a limit, again while nothing can be observed."""
    with FakeServer(behavior) as server, client_of(server) as client:
        found = CHECKS[limit](Probe.begin(client, configured(behavior)))
    again = found.standing is Standing.UNOBSERVABLE and tries > 1
    return looked_at(limit, behavior, tries - 1) if again else found


@pytest.fixture(autouse=True)
def short_time_for_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.serving.conform.probe.HEADERS_S", 0.5)


def test_every_fault_is_looked_for() -> None:
    assert set(FOUND) == set(FAULTS)


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_is_found(fault: str) -> None:
    limit, standing, behavior = FOUND[fault]
    found = looked_at(limit, replace(behavior, faults=frozenset({fault})))
    assert found.standing is standing, found


@pytest.mark.parametrize("limit", CHECKS)
def test_nothing_is_found_of_a_server_without_faults(limit: str) -> None:
    needed = {"timeout": TIMEOUT, "client abort": SERIAL, "parallel requests": PARALLEL, "dollars per key": DOLLARS}
    behavior = QUOTA if limit.startswith("tokens per minute") else needed.get(limit, Behavior())
    found = looked_at(limit, behavior)
    expected = Standing.NOT_OFFERED if limit == "prompt_logprobs" else Standing.HOLDS
    assert found.standing is expected, found


def test_requests_that_are_counted_for_tokens_are_named_as_such_with_the_overshoot() -> None:
    _, _, behavior = FOUND["counts-requests"]
    with FakeServer(replace(behavior, faults=frozenset({"counts-requests"}))) as server, client_of(server) as client:
        found = CHECKS["tokens per minute"](Probe.begin(client, configured(behavior)))
    assert "requests are counted, not tokens" in found.told
    assert found.factor is not None
    assert found.factor == pytest.approx(171, abs=10)  # 150 tokens of each answer, 21 of each prompt


@pytest.mark.parametrize("fault", ["drips-headers", "redirects"])
def test_what_holds_clients_or_sends_them_elsewhere_is_found_by_one_request(fault: str) -> None:
    with FakeServer(Behavior(faults=frozenset({fault}))) as server, client_of(server) as client:
        found = {each.limit: each for each in conform(client, Configured(parallel=2))}
        assert len(server.log) == 1
    assert found.pop("headers").standing is Standing.FAILS
    assert {each.standing for each in found.values()} == {Standing.UNOBSERVABLE}


def test_limits_are_looked_at_in_whole_answers_where_streams_are_refused() -> None:
    with FakeServer(Behavior(streams=False)) as server, client_of(server) as client:
        found = {each.limit: each.standing for each in conform(client, Configured(parallel=2))}
    assert found["max_tokens when streaming"] is Standing.NOT_OFFERED
    assert {found[name] for name in ("client abort", "parallel requests")} == {Standing.UNOBSERVABLE}
    assert {found[name] for name in ("max_tokens", "stop", "n", "usage", "headers")} == {Standing.HOLDS}


def test_dollars_that_cannot_be_spent_within_the_requests_are_said_to_be_so() -> None:
    with FakeServer(Behavior(dollars=1e4)) as server, client_of(server) as client:
        found = CHECKS["dollars per key"](Probe.begin(client, Configured(dollars=1e4)))
        assert len(server.log) == 3
    assert found.standing is Standing.UNOBSERVABLE
    assert "--max-queries" in found.told


def test_no_more_is_sent_than_allowed() -> None:
    spending = Spending(requests=7)
    with FakeServer() as server, client_of(server, spending) as client:
        found = conform(client, Configured())
        assert len(server.log) <= 7
    assert [each.limit for each in found] == list(CHECKS)
    assert "raise --max-queries" in found[-1].told or found[-1].standing is Standing.NOT_OFFERED


def test_a_server_that_is_not_there_is_said_to_be_so() -> None:
    client = Client(Address("http://127.0.0.1:9/v1", "fake"), Spending())
    with pytest.raises(MeterError, match="see whether it runs"), client:
        conform(client, Configured())


def invoke(server: FakeServer, *options: str) -> Result:
    return CliRunner().invoke(app, [server.address, "--model", "fake", *options], catch_exceptions=False)


def test_the_command_line_writes_the_findings(tmp_path: Path) -> None:
    junit, sarif = tmp_path / "junit.xml", tmp_path / "torpor.sarif"
    with FakeServer(Behavior(faults=frozenset({"ignores-max-tokens"}))) as server:
        result = invoke(server, "--json", "--junit", str(junit), "--sarif", str(sarif))
    found = {each["limit"]: Finding(**each) for each in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 10
    assert found["max_tokens"].factor == 200 / 8
    assert found["max_completion_tokens"].standing == "holds"
    assert 'failures="' in junit.read_text()
    assert json.loads(sarif.read_text())["runs"][0]["results"][0]["level"] == "error"


def test_dollars_need_prices() -> None:
    with FakeServer() as server, pytest.raises(UsageError, match="--dollars-per-key and --prices FILE together"):
        invoke(server, "--dollars-per-key", "1")


def test_a_table_and_a_verdict_are_printed() -> None:
    with FakeServer() as server:
        result = invoke(server)
    assert result.exit_code == 0
    assert result.stdout.rstrip().endswith("PASS")
    assert "max_completion_tokens" in result.stdout


def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", "sk-secret-of-the-test")
    monkeypatch.chdir(tmp_path)
    with FakeServer(Behavior(faults=frozenset({"wrong-usage"}))) as server:
        result = invoke(server, "--junit", "junit.xml", "--sarif", "found.sarif")
        assert server.log[0][2]["Authorization"] == "Bearer sk-secret-of-the-test"
    written = "".join(each.read_text() for each in tmp_path.iterdir())
    assert written
    assert "secret" not in result.output + result.stderr + written
