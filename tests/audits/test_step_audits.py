"""Audits of targets that iterate: what a table of one norm cannot get wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_audits import call, records

from torpor.audits.engine import run_audit
from torpor.audits.plan import Plan
from torpor.core.errors import DataError, UsageError
from torpor.data.texts import TextLines
from torpor.targets.toy_text import ToyText

TOY = "torpor.targets.toy_text:ToyText"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("the cat sat\nmy dog 3\na tree, a bird\n9\n", encoding="utf-8")
    return path


def test_budgets_of_equal_size_but_other_norms_are_rows_of_their_own(texts: Path, tmp_path: Path) -> None:
    plan = Plan(TOY, ("nmtsloth-char", "nmtsloth-token"), inputs=str(texts), limit=4, batch_size=2)
    run_audit(plan, ToyText(cap=40), tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "audit.json").read_text())["summary"]
    table = records(tmp_path / "run").to_pylist()
    assert len(summary) == 1 + 2 * 3
    for row in summary:
        own = [kept["i_loops"] for kept in table if (kept["attack"], kept["norm"]) == (row["attack"], row["norm"])]
        assert row["n"] == len(own) == 4
        assert row["i_loops_mean"] == pytest.approx(sum(own) / 4)
        assert row["i_latency"] == pytest.approx(100 * (row["latency_slowdown"] - 1))
    assert {kept["cap"] for kept in table} == {40}
    loops = {(row["attack"], row["norm"]): row["i_loops_mean"] for row in summary}
    assert loops["control-random-edits", "chars"] != loops["control-random-edits", "tokens"]


def test_attacks_that_learn_from_the_target_alone_need_no_other_texts(texts: Path, tmp_path: Path) -> None:
    plan = Plan(TOY, ("engorgio",), eps=(4,), steps=10, inputs=str(texts))
    run_audit(plan, ToyText(cap=20), tmp_path / "run")
    row = json.loads((tmp_path / "run" / "audit.json").read_text())["summary"][1]
    assert (row["attack"], row["n"]) == ("engorgio", 4)
    assert row["fit_forwards"] >= 10


def test_a_text_that_cannot_be_sent_is_named_before_anything_runs(texts: Path, tmp_path: Path) -> None:
    with texts.open("a", encoding="utf-8") as file:
        file.write("a </s> b\n")
    code, _, said = call("audit", TOY, "--inputs", texts, "--out", tmp_path / "run")
    assert code == 2
    assert "in text 5 of" in said
    assert not (tmp_path / "run").exists()


def test_results_of_other_texts_are_refused(texts: Path, tmp_path: Path) -> None:
    plan = Plan(TOY, ("nmtsloth-char",), inputs=str(texts), limit=1)
    run_audit(plan, ToyText(cap=20), tmp_path / "run")
    texts.write_text(texts.read_text().replace("cat", "dog"), encoding="utf-8")
    with pytest.raises(UsageError, match="other settings, weights, data"):
        run_audit(plan, ToyText(cap=20), tmp_path / "run")
    with pytest.raises(DataError, match="none to fit on"):
        TextLines(texts).load("validation")
