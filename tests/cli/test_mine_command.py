from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_models import chat_folder, write_prompts
from planted import NEEDLE, TOY_TEXT, texts, write_chats, write_pngs
from toy_audits import call

from torpor.audits.mining.budgeted import parse_share
from torpor.core.errors import UsageError


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    log, _ = texts(60, 3)
    path = write_chats(tmp_path / "log.jsonl", log)
    path.write_text(path.read_text() + "{broken secret\n")
    return path


def test_planted_chats_are_found_written_and_replayed(chats: Path, tmp_path: Path) -> None:
    _, where = texts(60, 3)
    code, out, err = call("mine", chats, "--target", TOY_TEXT, "--top", "3", "--out", tmp_path / "set", "--json")
    found = json.loads(out)
    assert code == 0
    assert [each["place"] for each in found["top"]] == [f"line {place + 1}" for place in where]
    assert found["schema"] == "torpor.mine/1"
    assert any("1 line was broken" in note for note in found["notes"])
    assert "replay it with: torpor check" in err
    again: list[str | Path] = ["check", tmp_path / "set", "--target", TOY_TEXT]
    code, out, _ = call(*again, "--junit", tmp_path / "j.xml", "--sarif", tmp_path / "s.json")
    assert (code, out.strip().splitlines()[-1]) == (0, "PASS")
    stored = json.loads((tmp_path / "set" / "set.json").read_text())
    for each in stored["expected"]:
        each["cost"] /= 2
    (tmp_path / "set" / "set.json").write_text(json.dumps(stored))
    code, out, _ = call(*again, "--sarif", tmp_path / "s.json")
    assert (code, out.strip().splitlines()[-1]) == (10, "FAIL")
    (result, *_) = json.loads((tmp_path / "s.json").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "set/cost"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("set/set.json")
    assert call(*again, "--tolerance", "2")[0] == 0
    stored["digest"] = "0"
    (tmp_path / "set" / "set.json").write_text(json.dumps(stored))
    assert call(*again)[0] == 11


def test_a_budget_says_its_recall(tmp_path: Path) -> None:
    log, where = texts(300, 3)
    path = write_chats(tmp_path / "log.jsonl", log)
    code, out, _ = call("mine", path, "--target", TOY_TEXT, "--budget", "10%", "--top", "3")
    assert code == 0
    assert "30 of 300 were run: 15 drawn at random" in out
    assert "95 % interval" in out
    assert all(f"line {place + 1} " in out for place in where)


def test_texts_are_printed_safely_and_not_at_all_on_demand(tmp_path: Path) -> None:
    evil = "\x1b[31mred | <b>secret</b> \u202e https://evil.example @team " + "9" * 9
    path = write_chats(tmp_path / "log.jsonl", ["a", "b", evil])
    path.write_text(path.read_text() + '["secret"]\n')
    code, out, _ = call("mine", path, "--target", TOY_TEXT, "--markdown", tmp_path / "m.md")
    markdown = (tmp_path / "m.md").read_text()
    assert code == 0
    assert "secret" in out
    assert "secret" in markdown
    for shown in (out, markdown):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    for markup in ("<b>", "https:", "evil.example", "@team"):
        assert markup not in markdown
    for form in ([], ["--json"]):
        code, out, err = call("mine", path, "--target", TOY_TEXT, "--no-text", "--markdown", tmp_path / "n.md", *form)
        assert code == 0
        assert "secret" not in out + err + (tmp_path / "n.md").read_text()
        assert "1 line was broken and left out" in out


def test_images_are_mined_with_an_audit_beside(tmp_path: Path) -> None:
    gray = write_pngs(tmp_path / "images", 24, 2)
    audit: list[str | Path] = [
        "audit",
        NEEDLE,
        "--inputs",
        tmp_path / "images",
        "--attacks",
        "pgd",
        "--steps",
        "3",
        "--out",
        tmp_path / "run",
    ]
    assert call(*audit)[0] == 0
    code, out, _ = call(
        "mine", tmp_path / "images", "--target", NEEDLE, "--against", tmp_path / "run", "--top", "2", "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert sorted(each["place"] for each in found["top"]) == gray
    (attack,) = found["attacks"]
    assert attack["row"].startswith("pgd")
    assert attack["cost_max"] == found["tail"]["max"]
    assert attack["natural_share"] == 1
    code, _, err = call("mine", tmp_path / "images", "--target", TOY_TEXT, "--against", tmp_path / "run")
    assert code == 2
    assert "Traceback" not in err


def test_a_trace_is_ranked_without_a_target(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    rows = "".join(f"{at},{10 + at % 3},{20 + at % 5}\n" for at in range(50))
    path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}x,1\n0,5,900\n")
    code, out, _ = call("mine", path, "--top", "2", "--cap", "1000")
    assert code == 0
    assert "line 53" in out
    assert "1 line was broken and left out" in out
    assert "output_token 900 (median 22)" in out
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'name = "dollars at a provider"\n[prices]\nprompt_token = 1e-6\ncached_token = 0\noutput_token = 4e-6\n'
    )
    code, _, err = call("mine", path, "--prices", prices)
    assert code == 2
    assert "reasoning_token" in err
    prices.write_text(prices.read_text() + "reasoning_token = 4e-6\n")
    code, out, _ = call("mine", path, "--prices", prices, "--json")
    assert code == 0
    assert json.loads(out)["top"][0]["cost"] == pytest.approx(5e-6 + 900 * 4e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.jsonl"],
        ["nowhere.jsonl", "--target", TOY_TEXT],
        ["."],
        ["log.jsonl"],
        ["log.jsonl", "--budget", "5%"],
        ["log.jsonl", "--out", "set"],
        ["log.jsonl", "--target", TOY_TEXT, "--top", "0"],
        ["log.jsonl", "--target", TOY_TEXT, "--limit", "0"],
        ["log.jsonl", "--target", TOY_TEXT, "--budget", "5%"],
        ["log.jsonl", "--target", TOY_TEXT, "--budget", "0"],
        ["log.jsonl", "--target", TOY_TEXT, "--budget", "nan"],
        ["log.jsonl", "--target", TOY_TEXT, "--cap", "5"],
        ["log.jsonl", "--cap", "9" * 20],
        ["log.jsonl", "--target", TOY_TEXT, "--against", "nowhere"],
        ["log.jsonl", "--target", TOY_TEXT, "--out", "."],
        ["log.jsonl", "--target", TOY_TEXT, "--seed", "-1"],
        ["log.jsonl", "--target", NEEDLE],
        ["log.jsonl", "--target", "nothing"],
        [".", "--target", NEEDLE],
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_chats(tmp_path / "log.jsonl", ["a", "b"])
    code, out, err = call("mine", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("torpor: expected ")
    assert err.count("\n") == 1


def test_gates_and_baselines_are_refused_with_a_set(chats: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    assert call("mine", chats, "--target", TOY_TEXT, "--out", folder)[0] == 0
    for arguments in (
        ["max(slowdown) < 2"],
        ["--baseline", folder],
        ["--prices", "flops"],
        ["--allow-different-settings"],
    ):
        code, _, err = call("check", folder, "--target", TOY_TEXT, *arguments)
        assert code == 2
        assert "with a set" in err
    code, _, err = call("check", folder)
    assert code == 2
    assert "--target" in err
    code, _, err = call("check", tmp_path, "max(slowdown) < 2", "--target", TOY_TEXT)
    assert code == 2


@pytest.mark.parametrize("text", ["", "%", "-5%", "101%", "1.5", "inf", "five"])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a share of the inputs"):
        parse_share(text)


def test_conversations_are_run_whole_by_a_chat_model_and_replayed(tmp_path: Path) -> None:
    path, name = write_prompts(tmp_path / "log.jsonl"), f"hf:{chat_folder()}:cap=2"
    code, out, _ = call("mine", path, "--target", name, "--out", tmp_path / "set", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["n"] == 7
    assert "conversation" not in " ".join(found["notes"])
    read = {each["place"]: each["counts"][found["units"].index("prompt_token")] for each in found["top"]}
    assert read["line 5"] > read["line 3"]  # earlier turns are read, too
    assert call("check", tmp_path / "set", "--target", name, "--tolerance", "0")[0] == 0
    code, out, _ = call("check", tmp_path / "set", "--target", name.replace("cap=2", "cap=24"))
    assert code == 10
    assert "decoder_step ran" in out
