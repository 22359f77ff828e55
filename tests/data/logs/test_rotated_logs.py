"""Packed and rotated logs: read as the files would be, within the same bounds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from toy_audits import call

from torpor.audits.mining.mine import mine_tokens
from torpor.core.errors import DataError
from torpor.data.logs import lines, reader
from torpor.data.logs.reader import read_log
from torpor.data.logs.rotated import log_kind


def packed(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


def used(tokens: int) -> str:
    return json.dumps({"prompt": f"p{tokens}", "usage": {"prompt_tokens": 1, "completion_tokens": tokens}}) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl.gz", '"one"\n"two"\n'),
        ("a.json.gz", '["one", "two"]'),
        ("a.ndjson.3.gz", '"one"\n"two"\n'),
    ],
)
def test_a_packed_log_is_read_as_the_file_in_it(tmp_path: Path, name: str, text: str) -> None:
    assert read_log(packed(tmp_path / name, text)).texts == ["one", "two"]


def test_a_packed_trace_is_read(tmp_path: Path) -> None:
    log = read_log(packed(tmp_path / "t.csv.gz", "input_tokens,output_tokens\n3,4\n"))
    assert list(log.counts) == [3, 0, 4, 0]


def test_a_folder_of_rotated_logs_is_one_log_and_says_where_each_request_is(tmp_path: Path) -> None:
    (tmp_path / "app.jsonl").write_text(used(5) + "{broken\n" + used(900))
    packed(tmp_path / "app.jsonl.2.gz", used(70))
    (tmp_path / "app.jsonl.10").write_text(used(800))
    (tmp_path / "app.jsonl.11.gz").write_bytes(b"no gzip")
    (tmp_path / "notes.md").write_text("not a log")
    (tmp_path / ".app.jsonl.swp").write_text("hidden")
    log = read_log(tmp_path)
    assert log.texts == ["p5", "p900", "p70", "p800"]
    assert log.broken == 2
    assert log.first_broken is not None
    assert "in app.jsonl: " in log.first_broken[1]
    found = mine_tokens(log, top=2)
    assert [each.place for each in found.top] == ["line 3 of app.jsonl", "line 1 of app.jsonl.10"]
    assert read_log(tmp_path, limit=3).texts == ["p5", "p900", "p70"]


def test_bounds_hold_for_what_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed(tmp_path / "a.jsonl.gz", "[" + " " * 10**6 + "]\n")
    monkeypatch.setattr(lines, "LARGEST", 10**5)
    monkeypatch.setattr(lines, "LONGEST", 10**4)
    with pytest.raises(DataError, match="expected a log of up to 100,000 bytes"):
        read_log(bomb)
    monkeypatch.setattr(reader, "LARGEST_DOCUMENT", 10**5)
    with pytest.raises(DataError, match="write a line per request"):
        read_log(packed(tmp_path / "a.json.gz", " " * 10**6))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.json.gz"])
@pytest.mark.parametrize("cut", [0, 3, 20])
def test_a_broken_archive_is_refused_in_a_sentence(tmp_path: Path, name: str, cut: int) -> None:
    path = packed(tmp_path / name, used(3) * 9)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"^expected "):
        read_log(path)


def test_names_of_other_files_are_no_logs() -> None:
    names = ("a.txt.gz", "jsonl", "a.jsonl.bak", "a.json.old.gz", "a.csv.")
    assert [log_kind(Path(name)) for name in names] == [""] * len(names)


def test_the_command_takes_folders_of_logs_with_and_without_a_target(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "app.jsonl").write_text(used(5))
    packed(folder / "app.jsonl.1.gz", used(9))
    code, out, err = call("mine", folder, "--json")
    assert code == 0, err
    assert [each["place"] for each in json.loads(out)["top"]] == ["line 1 of app.jsonl.1.gz", "line 1 of app.jsonl"]
    code, out, err = call("mine", folder, "--target", "torpor.targets.decoder.toy_text:ToyText", "--json")
    assert code == 0, err
    assert json.loads(out)["top"][0]["place"] == "line 1 of app.jsonl.1.gz"
    (tmp_path / "empty").mkdir()
    code, _, err = call("mine", tmp_path / "empty")
    assert code == 2
    assert "expected --target" in err
