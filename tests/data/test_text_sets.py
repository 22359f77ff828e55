from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.data.texts import Beginnings, ParquetTexts, TextLines

ENGLISH = ["A dog runs.", "Two men sit on a bench.", " A man, in Köln "]
GERMAN = ["Ein Hund rennt.", "Zwei Männer sitzen auf einer Bank.", "Ein Mann in Köln"]


def write(folder: Path, *, split: str = "test", **columns: Sequence[object]) -> Path:
    pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return folder


def test_parquet_texts_come_with_their_references(tmp_path: Path) -> None:
    data = ParquetTexts(write(tmp_path, en=ENGLISH, de=GERMAN), "en", "de", "pairs")
    batch = data.load("test")
    assert batch.inputs == ("A dog runs.", "Two men sit on a bench.", "A man, in Köln")
    assert batch.references == tuple(GERMAN)
    assert batch.index.tolist() == [0, 1, 2]
    assert [len(part) for part in data.batches("test", 2)] == [2, 1]
    assert data.load("test", 1).inputs == ("A dog runs.",)


def test_references_are_optional(tmp_path: Path) -> None:
    data = ParquetTexts(write(tmp_path, en=ENGLISH), "en")
    assert data.load("test").references == ()
    assert data.has("test")
    assert not data.has("train")


@pytest.mark.parametrize("data", [ParquetTexts(Path(), "en"), TextLines(Path())], ids=["parquet", "lines"])
def test_an_unknown_split_is_a_usage_error(data: DataSet) -> None:
    with pytest.raises(UsageError, match="expected one of train, validation, test, got split 'dev'"):
        next(iter(data.samples("dev")))
    with pytest.raises(UsageError, match="'dev'"):
        data.load("dev")


def test_missing_and_damaged_parquet_files_are_named(tmp_path: Path) -> None:
    data = ParquetTexts(tmp_path, "en", "de")
    with pytest.raises(DataError, match=r"expected texts in .*test\.parquet, got no such file; pass --data-dir"):
        data.load("test")
    (tmp_path / "test.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="expected a Parquet file"):
        data.load("test")
    assert data.fingerprint() == "texts en de {'train': None, 'validation': None, 'test': None}"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"en": ENGLISH}, r"expected columns en and de, got \['en'\]"),
        ({"en": ENGLISH, "de": [1, 2, 3]}, "expected a text, got 1 in column de, row 0"),
        ({"en": ["a", "b", None], "de": GERMAN}, "expected a text, got None in column en, row 2"),
        ({"en": [], "de": []}, "expected samples in split 'test' of texts, got none"),
    ],
)
def test_wrong_columns_and_values_are_data_errors(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ParquetTexts(write(tmp_path, **columns), "en", "de").load("test")


def test_the_fingerprint_follows_rows_and_columns(tmp_path: Path) -> None:
    write(tmp_path, split="train", en=ENGLISH, de=GERMAN)
    first = ParquetTexts(tmp_path, "en", "de").fingerprint()
    assert first != ParquetTexts(tmp_path, "de", "en").fingerprint()
    write(tmp_path, split="train", en=ENGLISH[:2], de=GERMAN[:2])
    assert first != ParquetTexts(tmp_path, "en", "de").fingerprint()


def test_lines_of_a_file_are_texts_and_blank_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbfone text\r\n\n  \nanother, in K\xc3\xb6ln\nlast")
    data = TextLines(path)
    batch = data.load("test")
    assert batch.inputs == ("one text", "another, in Köln", "last")
    assert batch.references == ()
    before = data.fingerprint()
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    assert TextLines(path).fingerprint() != before, "of the same size"
    assert not data.has("train")


def test_files_of_a_folder_are_texts_by_name(tmp_path: Path) -> None:
    for name, text in {"b.txt": "second\nof two lines\n", "a.txt": "first", "c.txt": "\n", "d.md": "no"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert TextLines(tmp_path).load("test").inputs == ("first", "second\nof two lines")
    assert TextLines(tmp_path).fingerprint().startswith(f"{tmp_path.name} 3 ")


def test_user_files_that_cannot_be_read_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a regular file at .*nowhere"):
        TextLines(tmp_path / "nowhere").load("test")
    with pytest.raises(DataError, match=r"expected texts \(\.txt\) in"):
        TextLines(tmp_path).load("test")
    (tmp_path / "latin.txt").write_bytes("Köln".encode("latin-1"))
    with pytest.raises(DataError, match=r"expected texts in UTF-8, got .*latin\.txt"):
        TextLines(tmp_path / "latin.txt").load("test")
    with pytest.raises(DataError, match="expected split test, got train"):
        TextLines(tmp_path / "latin.txt").load("train")


def test_beginning_and_rest_join_to_the_text(tmp_path: Path) -> None:
    data = Beginnings(ParquetTexts(write(tmp_path, en=ENGLISH), "en"), 3)
    batch = data.load("test")
    assert batch.inputs == ("A dog runs.", "Two men sit", "A man, in")
    assert batch.references == ("", " on a bench.", " Köln")
    assert data.name == "texts-beginnings"
    assert data.fingerprint().endswith("first 3 words")
    with pytest.raises(UsageError, match="expected beginnings of 1 word or more, got 0"):
        Beginnings(data, 0)
