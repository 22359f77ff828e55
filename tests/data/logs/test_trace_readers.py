from __future__ import annotations

import csv
import json
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.core.conversation import MARK, shown_turn
from torpor.core.errors import DataError, UsageError
from torpor.data.logs import lines, reader
from torpor.data.logs.chats import request_of
from torpor.data.logs.lines import BrokenLine
from torpor.data.logs.reader import UNKNOWN, InputLog, read_log
from torpor.data.logs.spans import span_request

KEYS = re.findall(
    r"\S+",
    "messages role content usage prompt input input_length output_length attributes key value spans resourceSpans "
    "scopeSpans gen_ai.input.messages parts body type gen_ai.usage.input_tokens gen_ai.usage.output_tokens max_tokens "
    "events prompt_tokens tools",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def write(folder: Path, text: str | bytes, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def counts(log: InputLog) -> list[tuple[int, ...]]:
    return [tuple(log.counts[at : at + 4]) for at in range(0, len(log.counts), 4)]


def test_azures_trace_is_read_by_its_columns(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
    text += "2023-11-16 18:15:50.9951690,396,109\r\n"
    log = read_log(write(tmp_path, text, "conv.csv"))
    assert counts(log) == [(374, 0, 44, 0), (396, 0, 109, 0)]
    assert list(log.places) == [2, 3]
    assert log.texts == [None, None]


def test_burstgpts_trace_is_read_in_both_forms(tmp_path: Path) -> None:
    short = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
    )
    long = (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        '1,a,2.5,"GPT-4, new",7,8,15,API log\n'
    )
    assert counts(read_log(write(tmp_path, short, "a.csv"))) == [(472, 0, 18, 0)]
    assert counts(read_log(write(tmp_path, long, "b.csv"))) == [(7, 0, 8, 0)]


def test_mooncakes_trace_is_read(tmp_path: Path) -> None:
    line = '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
    assert counts(read_log(write(tmp_path, line))) == [(6955, 0, 52, 0)]


def test_broken_rows_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = ["1,2,3", "1,,3", "1,-2,3", "1,2.5,3", "1,nan,3", "1,1e999,3", "1,2", "", '1,"2', "1,9e30,3", "1,4,5"]
    log = read_log(write(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows), "t.csv"))
    assert counts(log) == [(2, 0, 3, 0), (4, 0, 5, 0)]
    assert log.broken == 8
    assert log.first_broken is not None
    assert log.first_broken[0] == 3
    assert "tokens read" in log.first_broken[1]


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "ContextTokens\n1\n", "ContextTokens,Prompt tokens,GeneratedTokens\n1,2,3\n", "\xff\xfe\n"],
)
def test_a_csv_file_without_these_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"expected .*; "):
        read_log(write(tmp_path, text.encode("latin-1"), "t.csv"))


def test_chat_requests_keep_conversations_caps_and_usage(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "temperature": 0.5}
    answered = {**body, "messages": [*body["messages"], {"role": "assistant", "content": "Ho"}]}  # type: ignore[misc]
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 4}}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 6}}
    found: list[Any] = [
        "plain",
        {"prompt": "p"},
        body,
        answered,
        {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body},
        {"request": body, "response": {"status_code": 200, "body": {"usage": usage}}},
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}
            ]
        },
    ]
    log = read_log(write(tmp_path, "\n".join(map(json.dumps, found))))
    shown = [shown_turn(str(text)) for text in log.texts]
    assert shown == ["plain", "p", "Hi", "Hi", "Hi", "Hi", "a\nb"]
    assert [str(text).startswith(MARK) for text in log.texts] == [False, False, True, True, True, True, True]
    assert list(log.caps) == [UNKNOWN, UNKNOWN, 9, 9, 9, 9, UNKNOWN]
    assert counts(log)[5] == (5, 4, 2, 6)
    assert counts(log)[0] == (UNKNOWN,) * 4


@pytest.mark.parametrize(
    "found",
    [
        1,
        None,
        {},
        {"model": "m"},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": "Hi"},
        {"prompt": "\ud800"},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": True, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}},
    ],
)
def test_what_is_no_request_is_broken(found: object) -> None:
    with pytest.raises(BrokenLine, match="expected "):
        request_of(found)


def span(**attributes: object) -> dict[str, Any]:
    return {
        "name": "chat m",
        "attributes": {f"gen_ai.{name.replace('__', '.')}": value for name, value in attributes.items()},
    }


def test_spans_of_an_sdk_are_read() -> None:
    found = span_request(
        span(
            operation__name="chat",
            usage__input_tokens=9,
            usage__output_tokens=8,
            request__max_tokens=8,
            input__messages=json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]),
            system_instructions=[{"type": "text", "content": "Be brief."}],
        )
    )
    assert found is not None
    assert (found.tokens and found.tokens.counts, found.cap) == ((9, 0, 8, 0), 8)
    assert shown_turn(str(found.text)) == "Hi"
    assert "Be brief." in str(found.text)


def test_older_names_and_flat_prompts_are_read() -> None:
    held = {
        "usage__prompt_tokens": 3,
        "usage__completion_tokens": 4,
        "prompt__0__role": "user",
        "prompt__0__content": "Ho",
    }
    found = span_request(span(**held))
    assert found is not None
    assert shown_turn(str(found.text)) == "Ho"
    assert found.tokens is not None
    assert found.tokens.counts == (3, 0, 4, 0)


def test_spans_of_agents_tools_and_others_are_no_requests() -> None:
    usage = {"usage__input_tokens": 3, "usage__output_tokens": 4}
    for operation in ("invoke_agent", "execute_tool", "embeddings"):
        assert span_request(span(operation__name=operation, **usage)) is None
    assert span_request({"attributes": {"http.route": "/v1"}}) is None


def test_messages_that_are_no_text_leave_the_tokens() -> None:
    parts = [{"type": "blob", "modality": "image", "content": "AA"}]
    found = span_request(
        span(usage__input_tokens=3, usage__output_tokens=4, input__messages=[{"role": "user", "parts": parts}])
    )
    assert found is not None
    assert found.text is None
    assert found.tokens is not None


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    def value(given: object) -> dict[str, Any]:
        return {"intValue": str(given)} if isinstance(given, int) else {"stringValue": given}

    listed = [
        {**each, "attributes": [{"key": k, "value": value(v)} for k, v in each["attributes"].items()]} for each in spans
    ]
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "s"}, "spans": listed}]}]}


def test_otlp_is_read_as_lines_and_as_a_document(tmp_path: Path) -> None:
    one, two = (span(usage__input_tokens=n, usage__output_tokens=2 * n) for n in (1, 2))
    other = {"name": "GET", "attributes": {"http.route": "/"}}
    for name, text in (
        ("a.jsonl", json.dumps(otlp(one, other)) + "\n" + json.dumps(otlp(two))),
        ("a.json", json.dumps([otlp(one, other), otlp(two)], indent=2)),
        ("b.json", json.dumps(one, indent=2) + "\n" + json.dumps(other) + json.dumps(two)),
    ):
        log = read_log(write(tmp_path, text, name))
        assert counts(log) == [(1, 0, 2, 0), (2, 0, 4, 0)]
        assert (log.broken, log.other) == (0, 1)


def test_lines_that_are_too_long_are_skipped_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 50)
    log = read_log(write(tmp_path, '"a"\n' + '"' + "x" * 200 + '"\n"b"\n' + "y" * 90))
    assert log.texts == ["a", "b"]
    assert log.broken == 2
    assert list(log.places) == [1, 3]


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, '"abc"\n"abc"\n')
    with monkeypatch.context() as patch:
        patch.setattr(lines, "LARGEST", 3)
        with pytest.raises(DataError, match="expected a log of up to 3 bytes"):
            read_log(path)
    monkeypatch.setattr(reader, "MOST_TEXT", 4)
    with pytest.raises(DataError, match="pass --limit"):
        read_log(path)
    assert read_log(path, limit=1).texts == ["abc"]
    monkeypatch.setattr(reader, "LARGEST_DOCUMENT", 4)
    with pytest.raises(DataError, match="write a line per request"):
        read_log(write(tmp_path, '["abc"]', "a.json"))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_nothing_to_read_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    for content in (b"", b"{", b"\xff\n", b"[" * 9000, b"[]", b"[[]]", b"{}"):
        with pytest.raises(DataError, match=r"^expected "):
            read_log(write(tmp_path, content, name))
    with pytest.raises(UsageError, match=r"ends in \.jsonl"):
        read_log(write(tmp_path, b"x", "a.log"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_whatever_lines_hold_each_is_read_or_counted(content: list[bytes]) -> None:
    whole = b"\n".join(part.replace(b"\n", b" ") for part in content)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), whole + b'\n{"prompt": "last"}\n')
        log = read_log(path)
    assert log.texts[-1] == "last"
    assert len(log.texts) == len(log.places) == len(log.caps) == len(log.counts) // 4
    assert log.places[-1] == len(content) + 1 if content else log.places[-1] == 2


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_whatever_a_document_holds_it_is_read_or_refused(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), json.dumps(value), "a.json")
        with suppress(DataError):  # anything else is a crash
            assert len(read_log(path)) > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=5), st.text(max_size=20))
def test_counts_come_back_from_any_trace(rows: list[tuple[int, int]], junk: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.writer(file)
            writer.writerow(["input_tokens", "note", "output tokens"])
            writer.writerows([(read, junk.replace("\n", " ").replace("\r", " "), written) for read, written in rows])
        assert [(row[0], row[2]) for row in counts(read_log(path))] == rows
