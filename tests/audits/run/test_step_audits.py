"""Audits of targets that iterate: what a table of one norm cannot get wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from toy_audits import call, records

from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.core.errors import DataError, UsageError
from torpor.core.work import Work
from torpor.data.texts import TextLines
from torpor.targets.decoder.toy_text import ToyText

TOY = "torpor.targets.decoder.toy_text:ToyText"


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


FULL = "999 999 999 999 999 999 999 999 9 9"  # more than the cap of 200 steps


def test_an_audit_of_one_sample_has_no_interval_anywhere(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("the cat sat\n", encoding="utf-8")
    code, out, _ = call(
        "audit", TOY, "--attacks", "nmtsloth-token", "--inputs", tmp_path / "one.txt", "--out", tmp_path / "run"
    )
    assert code == 0
    rows = json.loads((tmp_path / "run" / "audit.json").read_text())["summary"]
    assert {(row["n"], row["slowdown_ci95"], row["latency_ci95"]) for row in rows} == {(1, None, None)}
    assert out.count("[-]") == len(rows)
    assert "one sample has no interval)" in re.sub(r"\s+", " ", out)


@pytest.mark.parametrize(("lines", "share"), [([FULL, FULL + " cat"], 1.0), ([FULL, "dog", "cat", "tree"], 0.25)])
def test_a_gate_does_not_pass_where_every_clean_output_is_at_the_cap(
    lines: list[str], share: float, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    plan = Plan(TOY, ("nmtsloth-token",), inputs=str(tmp_path / "texts.txt"), defenses=("steps:300",))
    run_audit(plan, ToyText(), tmp_path / "run")
    rows = json.loads((tmp_path / "run" / "audit.json").read_text())["summary"]
    everything = share == 1
    for row in rows:
        assert row["no_headroom_rate"] == share
        assert row["flags"] == (["nothing-to-measure"] if everything and row["kind"] != "clean" else [])
    for gate in ("p95(slowdown) < 100", "mean(steps) <= 200", "control-random-edits: p50(slowdown) < 100"):
        code, out, _ = call("check", tmp_path / "run", gate)
        assert code == (11 if everything else 0)
        assert ("nothing-to-measure" if everything else "25.0 % of the clean inputs are at the cap") in out
    assert call("check", tmp_path / "run", "p95(slowdown) < 100", "--accept-flag", "nothing-to-measure")[0] == 0
    said = " ".join(call("report", tmp_path / "run")[1].split())
    assert (
        "Nothing to measure: every clean input" if everything else "25.0 % of the clean inputs are at the cap"
    ) in said


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


class Modest(ToyText):
    """A target whose bound of all texts forgets that they may be long."""

    def static_work(self) -> Work:
        """Return the bound of prompts of up to ten tokens."""
        return Work(torch.tensor([[10, self.cap]]))


def test_a_static_bound_that_an_accepted_input_may_exceed_is_refused(texts: Path, tmp_path: Path) -> None:
    plan = Plan(TOY, ("nmtsloth-token",), inputs=str(texts))
    with pytest.raises(UsageError, match="covers every text of up to 128 tokens, got 200,100 FLOPs"):
        run_audit(plan, Modest(), tmp_path / "run")
