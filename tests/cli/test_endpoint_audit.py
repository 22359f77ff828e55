"""``torpor audit`` and ``measure`` on an endpoint: from command line to gate, killed, resumed, and within limits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from asked_endpoints import PROMPTS, sent, write_texts
from fake_server import Behavior, FakeServer
from toy_audits import call, command, records

from torpor.targets.endpoint.journal import NAME

SECRET = "sk-test-0123456789abcdef"
PRICES = "date = 2026-11-28\n[per_million]\nprompt = 2.0\noutput = 10.0\n"


def words_of(server: FakeServer, folder: Path, *more: str) -> list[str]:
    inputs = write_texts(folder / "prompts.jsonl")
    chosen = [] if "--attacks" in more else ["--attacks", "standard:queries=30"]
    return [
        *("audit", server.address, "--model", "fake", "--inputs", str(inputs), "--eps", "2"),
        *("--out", str(folder / "run"), *chosen, *more),
    ]


def test_an_audit_from_the_command_line_to_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with FakeServer(Behavior(cached=1)) as server:
        code, out, err = call(*words_of(server, tmp_path, "--cap", "80"))
        assert code == 0, err
        log = list(server.log)
    assert "About to send up to" in err
    assert err.index("About to send") >= 0
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert (audit["currency"], audit["target"]["family"], audit["target"]["cap"]) == ("tokens", "endpoint-text", 80)
    rows = {row["attack"]: row for row in audit["summary"]}
    assert set(rows) == {"clean", "standard-queries:queries=30", "control-random-edits", "control-best-of-k"}
    attacked = rows["standard-queries:queries=30"]
    assert attacked["access"] == "decision"
    assert attacked["slowdown_mean"] > 1
    assert rows["clean"]["output_tokens_mean"] == (7 + 60 + 12) / 3
    assert rows["clean"]["cached_tokens_mean"] == 1
    assert rows["clean"]["reasoning_tokens_mean"] == 40 / 3
    assert rows["clean"]["faults"] is None
    assert rows["clean"]["latency_s_p50"] is None
    assert "timed=true" in rows["clean"]["latency_reason"]
    assert rows["clean"]["answer_s_p50"] > rows["clean"]["first_token_s_p50"] > 0
    assert any("the model that http" in each for each in audit["identity"]["uncovered"])
    assert all(headers["Authorization"] == f"Bearer {SECRET}" for _, _, headers in log)
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in out + err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "gives no reason" not in page
    body = page[page.index("<body") :].split("<script")[0]
    for said in ("Tokens and times", "Findings", "from a cache"):
        assert said in body
    assert "FLOPs" not in body
    costs = [row["cost"] for row in records(tmp_path / "run").to_pylist() if row["attack"] == "clean"]
    assert sorted(costs) == [4 + 7, 7 + 12, 5 + 60]
    assert call("check", tmp_path / "run", "mean(output_tokens) < 200")[0] in (0, 11)
    assert call("check", tmp_path / "run", "mean(cost) < 1 tokens")[0] == 10
    assert call("check", tmp_path / "run", "answer_s_p50 < 100s")[0] in (0, 11)
    markdown, out, err = call("report", tmp_path / "run")
    assert markdown == 0, err


def test_prices_make_it_dollars_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    with FakeServer() as server:
        code, _, err = call(*words_of(server, tmp_path, "--prices", str(tmp_path / "prices.toml"), "--cap", "64"))
        assert code == 0, err
        code, _, err = call(*words_of(server, tmp_path, "--cap", "64", "--out", str(tmp_path / "tokens")))
        assert code == 0, err
    assert "dollars" in err or "tokens" in err
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert audit["currency"] == "dollars"
    assert audit["target"]["prices_date"] == "2026-11-28"
    mean = audit["summary"][0]["cost_mean"]
    assert mean == pytest.approx(sum(2 * read + 10 * wrote for read, wrote in ((4, 7), (5, 60), (7, 12))) / 3e6)
    code, _, err = call("check", tmp_path / "tokens", "mean(cost) < 1USD", "--prices", tmp_path / "prices.toml")
    assert code in (0, 11), err


def killed(server: FakeServer, words: list[str], folder: Path, most: int) -> None:
    """Run a command until the server has seen so many requests, and kill it while the last is under way."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command(*words), cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as run:
        while len(server.log) < most:
            assert run.poll() is None, run.stderr and run.stderr.read()
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_audit_resumes_and_the_server_sees_no_request_twice(tmp_path: Path) -> None:
    with FakeServer(Behavior(token_s=0.002)) as server:
        words = words_of(server, tmp_path)
        killed(server, words, tmp_path, 40)  # in a search
        server.behavior.token_s = 0.0
        code, _, err = call(*words)
        assert max(sent(server).values()) == 1
        entries = [json.loads(line) for line in (tmp_path / "run" / NAME).read_text().splitlines()]
        events = Counter(entry["event"] for entry in entries)
        assert 0 <= events["sent"] - events["answered"] <= 1
        if code:  # a row needs what was under way: nobody sends it again without being told to
            assert (code, "pass --resend to send it again" in err) == (2, True)
            assert call(*words, "--resend")[0] == 0
            assert sorted(sent(server).values())[-2:] == [1, 2]


@pytest.mark.slow
def test_a_killed_audit_that_sends_again_finds_what_a_whole_one_does(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    with FakeServer() as server:
        code, _, err = call(*words_of(server, tmp_path / "whole"))
        assert code == 0, err
        wanted = sent(server)
    assert max(wanted.values()) == 1
    with FakeServer(Behavior(token_s=0.0005)) as server:
        words = words_of(server, tmp_path, "--resend")
        for most in (5, 40):  # in the first search, and later
            killed(server, words, tmp_path, most)
        server.behavior.token_s = 0.0
        before = len(server.log)
        code, _, err = call(*words)
        assert code == 0, err
        found = sent(server)
        under_way = sum(found.values()) - len(found)
    assert before < len(found)
    assert len(found) == len(wanted)
    assert under_way <= 2  # of what was under way when each run was killed, no answer was there to be kept
    entries = [json.loads(line) for line in (tmp_path / "run" / NAME).read_text().splitlines()]
    answered = [entry["key"] for entry in entries if entry["event"] == "answered"]
    assert len(answered) == len(set(answered)) == len(found)
    columns = ["attack", "sample", "cost", "cost_static", "forwards", "output"]
    one, other = (
        pq.read_table(folder / "run" / "records.parquet", columns=columns) for folder in (tmp_path, tmp_path / "whole")
    )
    assert one.equals(other)


def test_limits_hold_and_searches_share_them(tmp_path: Path) -> None:
    with FakeServer() as server:
        words = words_of(server, tmp_path, "--attacks", "standard:queries=100", "--max-queries", "120")
        code, _, err = call(*words)
        assert code == 0, err
        assert len(server.log) <= 120
        audit = json.loads((tmp_path / "run" / "audit.json").read_text())
        assert audit["samples"]["read"] == 3
        assert "cut-off" in audit["summary"][1]["flags"]
        before = len(server.log)
        code, _, err = call(*words[:-1], "1200")
        assert code == 0, err
        assert len(server.log) > before
        assert max(sent(server).values()) == 1
        assert "cut-off" not in json.loads((tmp_path / "run" / "audit.json").read_text())["summary"][1]["flags"]


def test_no_more_is_sent_than_was_said_before(tmp_path: Path) -> None:
    with FakeServer() as server:
        more = ("--norm", "suffix", "--eps", "60", "--attacks", "standard:queries=20,repetition")
        code, _, err = call(*words_of(server, tmp_path, *more))
        assert code == 0, err
        said = re.search(r"About to send up to ([\d,]+) requests", err)
        assert said is not None
        assert 3 * (20 + 20) < len(sent(server)) <= int(said[1].replace(",", ""))


def test_too_low_a_limit_is_said_to_be_so(tmp_path: Path) -> None:
    with FakeServer() as server:
        code, _, err = call(*words_of(server, tmp_path, "--max-queries", "2"))
        assert len(server.log) <= 2
    assert code == 2
    assert "expected limits that allow" in err
    assert len(err.strip().splitlines()) <= 2


def test_a_remote_server_must_be_limited_in_what_it_costs(tmp_path: Path) -> None:
    inputs = write_texts(tmp_path / "prompts.jsonl")
    words = ("audit", "openai:http://192.0.2.1:9/v1", "--model", "m", "--inputs", inputs, "--out", tmp_path / "run")
    code, _, err = call(*words)
    assert code == 2
    assert "expected prices of a remote server" in err
    assert "--max-cost in tokens" in err


def test_measure_says_what_clean_inputs_cost(tmp_path: Path) -> None:
    inputs = write_texts(tmp_path / "prompts.jsonl")
    with FakeServer() as server:
        words = ("measure", server.address, "--model", "fake", "--inputs", inputs)
        code, out, err = call(*words)
        assert code == 0, err
        assert "About to send 3 requests" in err
        assert "tokens written" in out
        assert len(server.log) == 3
        code, out, err = call(*words, "--json", "--max-queries", "10")
        assert code == 0, err
        found = json.loads(out)
        assert (found["n"], found["cost_mean"], found["currency"]) == (3, (11 + 65 + 19) / 3, "tokens")
        code, _, err = call(*words, "--max-queries", "2")
        assert code == 2
        assert "at most 2 requests" in err
        before = len(server.log)
        assert call(*words, "--seconds")[0] == 2
        assert len(server.log) == before
    assert call("measure", "torpor.targets.early_exit.toys:needle", "--max-queries", "2")[0] == 2


def test_what_is_timed_is_asked_again_and_said_before(tmp_path: Path) -> None:
    with FakeServer() as server:
        words = words_of(server, tmp_path)
        words[1] = f"{server.address}#timed=true"
        code, _, err = call(*words)
        assert code == 0, err
        assert "more to time them" in err
        assert len(server.log) > 100
        assert max(sent(server).values()) == 1  # each is told apart, so that no gateway answers one from its memory
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert all(row["latency_s_p50"] > 0 for row in audit["summary"])


def test_a_server_that_does_not_hold_to_the_cap_or_answers_otherwise_each_time_is_found(tmp_path: Path) -> None:
    for behavior, flag, key, cap in (
        (Behavior(faults=frozenset({"ignores-max-tokens"})), "over-the-cap", "overshot_rate", "50"),
        (Behavior(varies=True), "varying-answers", "varies_rate", "2000"),
    ):
        with FakeServer(behavior) as server:
            folder = tmp_path / flag
            folder.mkdir()
            code, _, err = call(*words_of(server, folder, "--cap", cap))
            assert code == 0, err
        audit = json.loads((folder / "run" / "audit.json").read_text())
        found = [row for row in audit["summary"] if flag in row["flags"]]
        assert all(row[key] > 0 for row in found)
        assert found


def test_a_server_that_bills_wrong_is_found_and_no_gate_passes(tmp_path: Path) -> None:
    with FakeServer(Behavior(faults=frozenset({"wrong-usage"}))) as server:
        code, out, err = call(*words_of(server, tmp_path))
        assert code == 0, err
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert all("misbilled" in row["flags"] for row in audit["summary"])
    assert "1 token billed for an answer of" in audit["summary"][0]["faults"]
    code, out, _ = call("check", tmp_path / "run", "mean(cost) < 100000 tokens")
    assert code == 11
    assert "misbilled" in out
    assert "Findings on the server" in (tmp_path / "run" / "report.html").read_text()


def test_other_verbs_and_wrong_words(tmp_path: Path) -> None:
    inputs = write_texts(tmp_path / "prompts.jsonl")
    with FakeServer() as server:
        name = f"{server.address}#model=fake&cap=32"
        code, out, err = call("bound", name, "--json")
        assert code == 0, err
        assert json.loads(out)["units"][2] == ["output_token", 1.0, 32]
        code, _, err = call(
            "attack",
            name,
            "evolution:queries=9",
            "--inputs",
            inputs,
            "--limit",
            "1",
            "--out",
            tmp_path / "a.safetensors",
        )
        assert code == 0, err
        base = ("audit", name, "--inputs", inputs, "--out", tmp_path / "other")
        for more, said in (
            (("--dtype", "float16"), "a model of transformers"),
            (("--cap", "64"), "expected one cap"),
            (("--attacks", "nmtsloth-char"), "nmtsloth-char"),
            (("--executor", "processes:2"), "the local executor"),
            (("--max-cost", "2 TFLOPs"), "expected a cost such as"),
            (("--prices", str(tmp_path / "none.toml")), "a price file"),
        ):
            code, _, err = call(*base, *more)
            assert code == 2, more
            assert said in err, (more, err)
            assert len(err.strip().splitlines()) == 1, err
    assert call("audit", "sdn-digits", "--model", "m")[0] == 2
    assert len(PROMPTS) == 3
