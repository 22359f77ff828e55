"""The journal: what was answered is not sent again, and what was spent stays spent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from asked_endpoints import PROMPTS, endpoint, sent
from fake_server import FakeServer

from torpor.core.errors import DataError, LimitReachedError, MeterError
from torpor.targets.endpoint.journal import NAME, Journal


def test_what_was_answered_is_not_sent_again(tmp_path: Path) -> None:
    with FakeServer() as server:
        first = endpoint(server)
        with first.kept_in(tmp_path):
            before = first.run(PROMPTS)
        second = endpoint(server)
        with second.kept_in(tmp_path):
            after = second.run(PROMPTS)
        assert max(sent(server).values()) == 1
        assert len(server.log) == len(PROMPTS)
    assert [repr(output) for output in before.outputs] == [repr(output) for output in after.outputs]
    assert (second.spending.sent, second.spending.spent) == (first.spending.sent, first.spending.spent)


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with FakeServer() as server:
        target = endpoint(server)
        with target.kept_in(tmp_path):
            target.run(PROMPTS)
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        again = endpoint(server)
        with again.kept_in(tmp_path), pytest.raises(MeterError, match="pass --resend to send it again"):
            again.run(PROMPTS)
        assert sorted(sent(server).values()) == [1, 1, 1]
        again = endpoint(server)
        again.resend()
        with again.kept_in(tmp_path):
            again.run(PROMPTS)
        assert sorted(sent(server).values()) == [1, 1, 2]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines].count("answered") == 3
    assert again.spending.sent == 4  # what was under way when the run was killed counts, at the most that it can cost
    assert again.spending.spent > target.spending.spent


def test_a_search_goes_on_without_what_was_under_way(tmp_path: Path) -> None:
    with FakeServer() as server:
        target = endpoint(server)
        with target.kept_in(tmp_path):
            known = target.score(PROMPTS).tolist()
        path = tmp_path / NAME
        kept = [line for line in path.read_text().splitlines() if '"answered"' not in line or "hm39" not in line]
        path.write_text("\n".join(kept) + "\n")  # as if the run had been killed before that answer came
        again = endpoint(server)
        with again.kept_in(tmp_path):
            found = again.score(PROMPTS).tolist()
        assert max(sent(server).values()) == 1
        assert again.spending.sent == len(PROMPTS)
        assert again.spending.spent > target.spending.spent
    assert [steps for steps, before in zip(found, known, strict=True) if steps != before] == [1]


class Killed(BaseException):
    """The end of a process, wherever it is."""


@pytest.mark.parametrize("moment", ["before a line", "in a line", "after a line"])
def test_killed_at_any_point_nothing_is_sent_twice(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, left = Journal._write, 0

    def write(journal: Journal, entry: Mapping[str, object]) -> None:
        nonlocal left
        left -= 1
        if left == 0 and moment != "after a line":
            if moment == "in a line":
                journal._file.write(b'{"event": "sen')
                journal._file.flush()
            raise Killed
        written(journal, entry)
        if left == 0:
            raise Killed

    monkeypatch.setattr(Journal, "_write", write)
    for point in range(1, 2 * len(PROMPTS) + 1):
        folder = tmp_path / str(point)
        folder.mkdir()
        with FakeServer() as server:
            first, left = endpoint(server), point
            with pytest.raises(Killed), first.kept_in(folder):
                first.score(PROMPTS)
            again, left = endpoint(server), 0
            with again.kept_in(folder):
                again.score(PROMPTS)
            assert max(sent(server).values()) == 1
            assert again.spending.sent == len(PROMPTS)
            assert len(server.log) in (len(PROMPTS) - 1, len(PROMPTS))  # one was noted and never sent


def test_of_several_answers_those_that_came_count(tmp_path: Path) -> None:
    with FakeServer() as server:
        target = endpoint(server, repeats=3)
        with target.kept_in(tmp_path):
            target.run(PROMPTS[:1])
        path = tmp_path / NAME
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
        again = endpoint(server, repeats=3)
        with again.kept_in(tmp_path):
            (output,) = again.run(PROMPTS[:1]).outputs
        assert len(server.log) == 3
    assert (output.asked, output.faults, output.counts[2]) == (2, (), 7)


def test_a_limit_holds_over_all_runs(tmp_path: Path) -> None:
    with FakeServer() as server:
        for _ in range(3):
            target = endpoint(server)
            target.spend(2, None)
            with target.kept_in(tmp_path), pytest.raises(LimitReachedError, match="at most 2 requests"):
                target.run(PROMPTS)
        assert len(server.log) == 2


def test_the_journal_holds_no_prompt_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with FakeServer() as server:
        target = endpoint(server)
        with target.kept_in(tmp_path):
            target.run(("A private matter for 3 words.",))
    text = (tmp_path / NAME).read_text()
    assert "private" not in text
    assert "sk-very-secret" not in text


@pytest.mark.parametrize(
    "line", ["{", "3", '{"event": "answered"}', '{"event": "answered", "key": "a", "prompt": "x"}']
)
def test_something_else_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(line + "\n")
    with pytest.raises(DataError, match=r"the journal of an audit in .* line 1"):
        Journal(tmp_path / NAME)
