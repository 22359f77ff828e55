"""A chat model from the command line: prompts as JSON lines, the template said, the audit resumed and told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_models import TALKS, chat, chat_folder, sent, write_prompts
from toy_audits import call

from torpor.core.conversation import stored_turn, turn_of
from torpor.core.errors import DataError
from torpor.data.own import own_inputs

COMMON = ["--attacks", "nmtsloth-char", "--eps", "1", "--limit", "4", "--cap", "6", "--max-seconds", "900"]


def test_a_chat_model_is_audited_under_its_template(tmp_path: Path) -> None:
    prompts, name = write_prompts(tmp_path / "prompts.jsonl"), f"hf:{chat_folder()}"
    words = ["audit", name, "--inputs", str(prompts), *COMMON, "--out", str(tmp_path / "run")]
    code, said = call(*words)[:2]
    assert code == 0
    assert "Chat template: " in said
    assert "of the tests" in said
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert "of the tests" in audit["target"]["chat_template"]
    assert (audit["target"]["cap"], audit["samples"]["read"]) == (6, 4)
    assert audit["config"]["target"] == f"{name}:cap=6"
    clean = audit["summary"][0]
    target = chat(":cap=6")
    inputs = target.read(own_inputs(prompts, target.space).load("test", 4).inputs)
    assert clean["cost_mean"] == target.prices.cost(target.run(inputs).work).mean().item()
    assert [len(target.reader.rows((text,))[0]) for text in inputs[2:]] == [
        len(sent(str(text), one)) for text, one in zip(inputs[2:], TALKS, strict=False)
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "the cat sat" in page
    assert "messages" not in page.split("</script>")[-1]  # of conversations the turn is shown that was edited
    assert call(*words)[0] == 0  # as it is finished
    code, _, wrong = call(*words, "--raw")
    assert code == 2
    assert "another audit" in wrong or "expected" in wrong


def test_lines_of_json_are_read_as_they_are_written(tmp_path: Path) -> None:
    data = own_inputs(write_prompts(tmp_path / "prompts.jsonl"), chat().space)
    read = [turn_of(text) for text, _ in data.samples("test")]
    assert read[:3] == ["the dog sat", "it rained on the cat", "the cat sat"]
    assert [stored_turn(text) for text in read] == [text for text, _ in data.samples("test")]
    assert sum(text.startswith("\x1e") for text, _ in data.samples("test")) == len(TALKS)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "JSON in each line of .*, got in text 2"),
        ("3", "a string, or an object with a prompt"),
        ('{"prompt": "a", "messages": []}', "a string, or an object"),
        ('{"prompt": "a", "temperature": 1}', "got 'temperature'; leave it out"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "that the model is to answer"),
    ],
)
def test_lines_that_nobody_would_read_are_refused(line: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'"one"\n{line}\n')
    with pytest.raises(DataError, match=error):
        list(own_inputs(tmp_path / "a.jsonl", chat().space).samples("test"))


def test_options_of_models_are_refused_elsewhere() -> None:
    code, _, wrong = call("audit", "speller", "--cap", "3")
    assert code == 2
    assert "hf:NAME, with --cap, got speller; leave it out" in wrong


def test_long_prompts_are_read_up_to_the_context(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps("the cat sat on the mat " * 3000) + "\n")
    from torpor.audits.run.job import source

    batch = source(chat(), None, tmp_path / "a.jsonl").load("test")
    assert batch.cut is not None
    assert batch.cut[0] > 0
    (row,) = chat().reader.rows(batch.inputs)
    assert chat().space.longest - 8 < len(row) <= chat().space.longest  # type: ignore[attr-defined]
