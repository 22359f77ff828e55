"""Texts with or without reference texts, from Parquet files or from a user's own text files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from typing_extensions import override

from torpor.core.conversation import read_line
from torpor.core.errors import DataError, UsageError
from torpor.data.files import Files
from torpor.data.sets import SPLITS, DataSet
from torpor.data.tables import count_rows, read_rows


class ParquetTexts(DataSet):
    """Texts from ``train.parquet``, ``validation.parquet`` and ``test.parquet``, white space around them removed.

    Args:
        folder: the folder of the files.
        source: column of the texts.
        reference: column of what a target should answer; None where there is no such thing.
        name: of the data set.
    """

    def __init__(self, folder: Path, source: str, reference: str | None = None, name: str = "texts") -> None:
        self.folder, self.source, self.reference, self.name = folder, source, reference, name

    def fingerprint(self) -> str:
        """Return the name, the columns and the number of rows of each file."""
        rows = {split: count_rows(self._path(split)) for split in SPLITS}
        return f"{self.name} {self.source} {self.reference} {rows}"

    @override
    def files(self) -> Mapping[str, Path]:
        return {split: self._path(split) for split in SPLITS}

    def samples(self, split: str) -> Iterator[tuple[str, str | None]]:
        """Yield ``(text, reference text or None)`` in the order of the file.

        Raises:
            UsageError: if ``split`` does not exist.
            DataError: if the file is missing or damaged, or holds no such texts.
        """
        path = self._path(split)
        columns = [self.source] if self.reference is None else [self.source, self.reference]
        for number, values in enumerate(read_rows(path, columns, "texts")):
            for name, value in zip(columns, values, strict=True):
                if not isinstance(value, str):
                    raise DataError(f"expected a text, got {value!r} in column {name}, row {number} of {path}")
            yield values[0].strip(), None if self.reference is None else values[1].strip()

    def _path(self, split: str) -> Path:
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        return self.folder / f"{split}.parquet"


class TextLines(Files):
    """The lines of one UTF-8 file, or the ``.txt`` files of a folder, one text per file. Blank ones are left out.

    Args:
        path: the file or the folder.
    """

    what, suffixes = "texts", (".txt",)

    def _read(self, file: Path) -> Iterator[str]:
        try:
            with file.open(encoding="utf-8-sig") as lines:  # some editors put a mark before the first character
                for text in [lines.read()] if self.path.is_dir() else lines:
                    if text.strip():
                        yield text.rstrip("\n")
        except OSError as error:
            raise DataError(f"expected texts in {file}, got: {error}; pass a file or a folder of .txt") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"expected texts in UTF-8, got {file}: {error}; the target reads texts: convert it"
            ) from error


class JsonLines(Files):
    """The lines of one UTF-8 file of JSON: each a string, or an object with a prompt, or with messages and tools.

    Args:
        path: the file.
    """

    what, suffixes = "prompts", (".jsonl",)

    def _read(self, file: Path) -> Iterator[str]:
        for number, line in enumerate(TextLines(file)._read(file), 1):
            try:
                yield read_line(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"expected JSON in each line of {file}, got in text {number}: {error}") from error
            except DataError as error:
                raise DataError(f"{error} (text {number} of {file})") from error


class Beginnings(DataSet):
    """Texts to be continued: of each text its first words, and as reference the rest, so that both join to the text.

    Args:
        data: the whole texts; their references are ignored.
        words: how many words, separated by single spaces, belong to the beginning.
    """

    def __init__(self, data: DataSet, words: int) -> None:
        if words < 1:
            raise UsageError(f"expected beginnings of 1 word or more, got {words}")
        self.data, self.words, self.name = data, words, f"{data.name}-beginnings"

    def fingerprint(self) -> str:
        """Return that of the whole texts, with the number of words."""
        return f"{self.data.fingerprint()} first {self.words} words"

    @override
    def files(self) -> Mapping[str, Path]:
        return self.data.files()

    def samples(self, split: str) -> Iterator[tuple[str, str]]:
        """Yield ``(beginning, rest)``; the rest starts with a space, or is empty."""
        for text, _ in self.data.samples(split):
            beginning = " ".join(text.split(" ")[: self.words])
            yield beginning, text[len(beginning) :]
