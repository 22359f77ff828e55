"""Read a log of requests: lines or documents of JSON, or a CSV trace. Lines that cannot be read are counted."""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torpor.core.errors import DataError, UsageError
from torpor.data.logs.chats import request_of
from torpor.data.logs.lines import BrokenLine, numbered_lines
from torpor.data.logs.request import UNITS, LoggedRequest
from torpor.data.logs.rotated import log_kind, logs_in, opened
from torpor.data.logs.spans import holds_spans, span_request, spans_in
from torpor.data.logs.traces import csv_requests

Numbered = tuple[int, LoggedRequest | BrokenLine | None]
"""The number of a line or a document, and its request, why it cannot be read, or None if it is of something else."""
LARGEST_DOCUMENT = 2**28
"""Bytes of a file of JSON that is no lines, which is read whole."""
MOST_TEXT = 2**30
"""Characters of all texts that are held."""
BLANKS = re.compile(r"[ \t\r\n]*")
UNKNOWN = -1
"""A cap that the log does not tell."""


@dataclass
class InputLog:
    """The requests of a log.

    Attributes:
        path: of the file, or of the folder with several.
        noun: what its entries are numbered by: ``"line"`` or ``"entry"``.
        places: number of the line or entry of each request, in its own file.
        files: names of the files of a folder, each with the number of requests before it; empty for one file.
        texts: of each request, as files hold it; None where the log has none.
        counts: of each of :data:`~torpor.data.logs.request.UNITS` one after the other, request by request; all
            :data:`UNKNOWN` where none were recorded.
        caps: of each request; :data:`UNKNOWN` where the log does not tell.
        broken: how many entries could not be read.
        first_broken: where the first of them is, and why not.
        other: how many entries are of something else than requests, such as spans of tools.
    """

    path: Path
    noun: str = "line"
    places: array[int] = field(default_factory=lambda: array("q"))
    files: list[tuple[int, str]] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    counts: array[int] = field(default_factory=lambda: array("q"))
    caps: array[int] = field(default_factory=lambda: array("q"))
    broken: int = 0
    first_broken: tuple[int, str] | None = None
    other: int = 0

    def __len__(self) -> int:
        return len(self.places)

    def place(self, row: int) -> str:
        """Return where a request is, in words.

        >>> log = InputLog(Path("logs"), files=[(0, "a.jsonl"), (2, "a.jsonl.1")])
        >>> log.places.extend([1, 4, 2])
        >>> log.place(1), log.place(2)
        ('line 4 of a.jsonl', 'line 2 of a.jsonl.1')
        """
        where = f"{self.noun} {self.places[row]}"
        held = bisect(self.files, row, key=lambda file: file[0])
        return f"{where} of {self.files[held - 1][1]}" if held else where

    def add(self, place: int, found: LoggedRequest | BrokenLine | None) -> None:
        """Take an entry: a request, why it cannot be read, or None for something else."""
        if found is None:
            self.other += 1
        elif isinstance(found, BrokenLine):
            self.broken += 1
            self.first_broken = self.first_broken or (place, str(found))
        else:
            self.places.append(place)
            self.texts.append(found.text)
            self.counts.extend((UNKNOWN,) * len(UNITS) if found.tokens is None else found.tokens.counts)
            self.caps.append(UNKNOWN if found.cap is None else found.cap)


def read_log(path: Path, limit: int | None = None) -> InputLog:
    r"""Read a log: ``.csv`` for traces, ``.json`` for documents, ``.jsonl`` or ``.ndjson`` for lines of JSON.

    What rotation puts behind a name, such as ``.1`` or ``-20261128``, and ``.gz`` may follow. Of a folder all logs are
    read, by name; one of them that cannot be read is counted as a broken line.

    Args:
        path: of the file or the folder.
        limit: requests at most; what follows is not read.

    Raises:
        DataError: if the file cannot be read, is too large, or holds no request.
        UsageError: if its name ends otherwise.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "log.jsonl")
    ...     _ = path.write_text('{"prompt": "Hi"}\n{oops\n"Ho"\n')
    ...     log = read_log(path)
    >>> log.texts, list(log.places), log.broken, log.first_broken[0]
    (['Hi', 'Ho'], [1, 3], 1, 2)
    """
    several = path.is_dir()
    files = logs_in(path) if several else [path]
    kinds = [log_kind(file) for file in files]
    if not all(kinds):
        raise UsageError(f"expected a log that ends in {', '.join(READERS)}, got {path.name}; rename or convert it")
    log = InputLog(path, "entry" if kinds and set(kinds) == {".json"} else "line")
    entries = _of_folder(log, files) if several else READERS[kinds[0]](path)
    characters = 0
    for place, found in entries:
        log.add(place, found)
        characters += len(found.text or "") if isinstance(found, LoggedRequest) else 0
        if characters > MOST_TEXT:
            raise DataError(f"expected up to {MOST_TEXT:,} characters in {path}, got more; pass --limit")
        if limit is not None and len(log) >= limit:
            break
    if not len(log):
        place, reason = log.first_broken or (0, "")
        why = f", {log.noun} {place}: {reason}" if reason else f" of {log.other} other entries" if log.other else ""
        raise DataError(f"expected requests in {path}, got none{why}; check the file")
    return log


def _of_folder(log: InputLog, files: Sequence[Path]) -> Iterator[Numbered]:
    """Yield what each of several files holds; why one cannot be read as if it were a line of it."""
    for file in files:
        log.files.append((len(log), file.name))
        number = 0
        try:
            for number, found in READERS[log_kind(file)](file):
                yield number, BrokenLine(f"in {file.name}: {found}") if isinstance(found, BrokenLine) else found
        except DataError as error:
            yield number + 1, BrokenLine(str(error))


def _lines(path: Path) -> Iterator[Numbered]:
    """Yield what each line of JSON holds; the lines of a file exporter hold many spans."""
    for number, line in numbered_lines(path):
        if isinstance(line, BrokenLine):
            yield number, line
            continue
        try:
            yield from ((number, each) for each in _held(json.loads(line)))
        except BrokenLine as error:
            yield number, error
        except (ValueError, RecursionError) as error:
            yield number, BrokenLine(f"expected JSON, got: {error}")


def _documents(path: Path) -> Iterator[Numbered]:
    """Yield what a file of JSON holds, of one document or of several one after the other, each numbered."""
    with opened(path) as file:
        held = file.read(LARGEST_DOCUMENT + 1)
    if len(held) > LARGEST_DOCUMENT:
        raise DataError(
            f"expected JSON of up to {LARGEST_DOCUMENT:,} bytes, got more in {path}; write a line per request (.jsonl)"
        )
    try:
        text = held.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"expected JSON in UTF-8 in {path}, got: {error}; convert it") from error
    decoder, number, place = json.JSONDecoder(), 0, _after_blanks(text, 0)
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
            place = _after_blanks(text, place)
        except (ValueError, RecursionError) as error:
            raise DataError(f"expected JSON in {path}, got after {number} entries: {error}; repair it") from error
        for each in value if isinstance(value, list) else [value]:
            for found in _numbered_safely(each):
                number += 1
                yield number, found


def _after_blanks(text: str, place: int) -> int:
    found = BLANKS.match(text, place)
    return place if found is None else found.end()


def _numbered_safely(value: object) -> Iterator[LoggedRequest | BrokenLine | None]:
    try:
        yield from _held(value)
    except BrokenLine as error:
        yield error
    except RecursionError:
        yield BrokenLine("expected a request, got JSON that is nested too deeply")


def _held(value: object) -> Iterator[LoggedRequest | BrokenLine | None]:
    """Yield the requests that a JSON value holds: one, or those of all its spans."""
    if not holds_spans(value):
        yield request_of(value)
        return
    for span in spans_in(value):
        try:
            yield span_request(span)
        except BrokenLine as error:
            yield error


READERS: dict[str, Callable[[Path], Iterator[Numbered]]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _documents,
    ".csv": csv_requests,
}
"""What reads a log, by how the name of its file ends."""
