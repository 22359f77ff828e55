"""A plug-in's black box behind HTTP: audited in tokens, by an attack and a defense of the plug-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from token_server import answer, serving
from toy_audits import call, records

from plugin import ENDPOINT, installed

pytestmark = installed
CAP = 64
PROMPTS = ("hello there", "count to 3 for me", "what is 2 and 2", "please say something", "9 9 9 9 9 9 9 9")
AUDIT = ("audit", ENDPOINT, "--attacks", "example-insertion", "--inputs", "prompts.txt", "--out", "run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an audit of the endpoint, which is served until the last test."""
    with pytest.MonkeyPatch.context() as patch, serving() as url:
        here = tmp_path_factory.mktemp("endpoint")
        patch.chdir(here)
        patch.setenv("EXAMPLE_ENDPOINT", url)
        (here / "prompts.txt").write_text("\n".join(PROMPTS))
        code, _, err = call(*AUDIT, "--defenses", "example-mask")
        assert code == 0, err
        yield here / "run"


def tokens(text: str) -> tuple[int, int]:
    """Return what the server bills for a text: tokens that it reads, and that it writes."""
    return len(text.split()), len(answer(text, CAP))


def masked(text: str) -> str:
    return "".join("#" if letter.isdigit() else letter for letter in text)


def rows_of(folder: Path, **wanted: object) -> list[dict[str, Any]]:
    found = [row for row in records(folder).to_pylist() if all(row[key] == value for key, value in wanted.items())]
    return sorted(found, key=lambda row: int(row["sample"]))


def test_costs_are_the_tokens_of_a_hand_count(folder: Path) -> None:
    for defense, seen in (("none", str), ("example-mask", masked)):
        clean = rows_of(folder, attack="clean", defense=defense)
        assert [row["cost"] for row in clean] == [sum(tokens(seen(text))) for text in PROMPTS]
        assert [row["output_tokens"] for row in clean] == [tokens(seen(text))[1] for text in PROMPTS]
    for attack in ("example-insertion", "control-random-edits", "control-best-of-k"):
        saved = pq.read_table(folder / "examples" / f"{attack}-chars-3.texts.parquet")
        texts = dict(zip(saved["index"].to_pylist(), saved["attacked"].to_pylist(), strict=True))
        found = rows_of(folder, attack=attack, defense="none")
        assert [row["cost"] for row in found] == [sum(tokens(texts[row["sample"]])) for row in found]
        assert len(found) == len(PROMPTS)


def test_the_summary_is_that_of_the_records(folder: Path) -> None:
    audit = json.loads((folder / "audit.json").read_text())
    assert audit["currency"] == "tokens"
    assert audit["target"]["family"] == "endpoint"
    assert [(unit["name"], unit["price"]) for unit in audit["units"]["none"]] == [
        ("prompt_token", 1),
        ("output_token", 1),
    ]
    assert audit["units"]["example-mask"][-1]["price"] == 0  # it runs on the client
    clean, attacked = audit["summary"][0], audit["summary"][1]
    written = [tokens(text)[1] for text in PROMPTS]
    assert clean["output_tokens_mean"] == sum(written) / len(written)
    assert clean["cap_rate"] == 100 * sum(count == CAP for count in written) / len(written) == 20
    assert attacked["slowdown_mean"] > audit["summary"][2]["slowdown_mean"] > 1  # a control of as many edits


def test_the_defense_holds_against_those_who_know_it(folder: Path) -> None:
    audit = json.loads((folder / "audit.json").read_text())
    defended = [row for row in audit["summary"] if row["defense"] == "example-mask" and row["attacker"] == "adaptive"]
    assert [row["attack"] for row in defended] == ["example-insertion"]
    assert defended[0]["cost_mean"] < audit["summary"][1]["cost_mean"]


def test_gates_are_in_tokens_and_in_its_own_measures(folder: Path) -> None:
    for gate, code in (
        ("mean(output_tokens) < 60", 0),
        ("mean(output_tokens) < 10", 10),
        ("p95(cost) < 90 tokens", 0),
        ("cap_rate < 100%", 0),
        ("p95(cost) < 1 MFLOPs", 2),
    ):
        assert call("check", folder, gate)[0] == code, gate


def test_the_report_speaks_of_tokens(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    body = page[page.index("<body") :]
    for word in ("tokens out", "at the cap", "tokens", "example-insertion", "example-mask"):
        assert word in body
    assert "FLOPs" not in body.split("<script")[0]
    assert "early exit" not in page.lower().replace("-", " ")


def test_other_verbs_know_it_too(folder: Path) -> None:
    code, out, err = call("bound", ENDPOINT, "--json")
    assert code == 0, err
    assert (json.loads(out)["cost"], json.loads(out)["currency"]) == (512 + CAP, "tokens")
    code, out, err = call("measure", ENDPOINT, "--inputs", "prompts.txt", "--json")
    assert code == 0, err
    assert json.loads(out)["cost_mean"] == sum(sum(tokens(text)) for text in PROMPTS) / len(PROMPTS)


def test_what_a_black_box_does_not_have_is_refused_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, said in (
        (("measure", ENDPOINT, "--inputs", "prompts.txt", "--seconds"), "write its probes()"),
        (("audit", ENDPOINT, "--inputs", "prompts.txt"), "endpoint targets have no default"),
        (
            ("audit", ENDPOINT, "--attacks", "pgd", "--inputs", "prompts.txt"),
            "an attack on text generation behind an endpoint",
        ),
        ((*AUDIT[:-1], "other", "--max-cost", "2 MFLOPs"), "expected a cost such as 2e12 or '2 Ttokens'"),
    ):
        code, _, err = call(*words)
        assert code == 2
        assert said in " ".join(err.split()), err
    monkeypatch.setenv("EXAMPLE_ENDPOINT", "http://127.0.0.1:9")
    code, _, err = call(*AUDIT[:-1], "unreached")
    assert code == 2
    assert "see whether the server runs" in " ".join(err.split())


def test_a_limit_in_tokens_cuts_it_off(folder: Path) -> None:
    code, _, err = call(*AUDIT[:-1], "limited", "--max-cost", "20 ktokens", "--batch-size", "1")
    assert code == 0, err
    audit = json.loads((folder.parent / "limited" / "audit.json").read_text())
    assert 0 < audit["samples"]["read"] < len(PROMPTS)
    assert audit["samples"]["cut_off"] == {"limit": "cost", "value": 20000}
