"""Traces of serving tools as CSV: columns with the tokens of each request, and no text."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from torpor.core.errors import DataError
from torpor.data.logs.lines import BrokenLine, numbered_lines
from torpor.data.logs.request import LoggedRequest, RecordedTokens, whole

PROMPT = ("contexttokens", "requesttokens", "prompttokens", "inputtokens", "inputlength", "numprefilltokens")
OUTPUT = (
    "generatedtokens", "responsetokens", "completiontokens", "outputtokens", "outputlength", "numdecodetokens",
)  # fmt: skip
"""Names of columns, in small letters alone: of Azure's LLM inference traces, of BurstGPT, and of other tools."""


def csv_requests(path: Path) -> Iterator[tuple[int, LoggedRequest | BrokenLine]]:
    r"""Yield ``(number of the line, request)`` for each row of a trace, or why it cannot be read.

    Raises:
        DataError: if the file cannot be read, or its first line does not name a column of tokens read and one of
            tokens written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "trace.csv")
    ...     _ = path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n")
    ...     [(number, request.tokens.counts) for number, request in csv_requests(path)]
    [(2, (374, 0, 44, 0))]
    """
    columns: Mapping[str, int] | None = None
    for number, line in numbered_lines(path):
        if isinstance(line, BrokenLine):
            found: LoggedRequest | BrokenLine = line
        elif columns is None:
            columns = _columns(line, path)
            continue
        else:
            found = _request(line, columns)
        if columns is None:
            raise DataError(f"expected the names of columns in line {number} of {path}, got none: {found}; write them")
        yield number, found
    if columns is None:
        raise DataError(f"expected the names of columns and a line per request in {path}, got nothing; check the file")


def _columns(line: str, path: Path) -> dict[str, int]:
    names = ["".join(filter(str.isalpha, name)).lower() for name in _cells(line)]
    places = {}
    for what, known in (("read", PROMPT), ("written", OUTPUT)):
        found = [place for place, name in enumerate(names) if name in known]
        if len(found) != 1:
            raise DataError(
                f"expected one column of tokens {what} in {path}, such as those of Azure's traces (ContextTokens, "
                f"GeneratedTokens) or BurstGPT (Request tokens, Response tokens), got {len(found)} in {line!r:.80}; "
                "rename it"
            )
        places[what] = found[0]
    return places


def _request(line: str, columns: Mapping[str, int]) -> LoggedRequest | BrokenLine:
    try:
        cells = _cells(line)
        counts = {what: whole(cells[place].strip(), f"tokens {what}") for what, place in columns.items()}
        return LoggedRequest(tokens=RecordedTokens(counts["read"], counts["written"]))
    except IndexError:
        return BrokenLine(f"expected at least {max(columns.values()) + 1} columns, got {line!r:.40}")
    except (csv.Error, BrokenLine) as error:
        return BrokenLine(str(error))


def _cells(line: str) -> list[str]:
    return next(csv.reader([line]), [])
