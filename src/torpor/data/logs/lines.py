"""Lines of a file of hostile origin: none is held that is longer than what a request can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torpor.core.errors import DataError
from torpor.core.files import require_file
from torpor.data.logs.rotated import opened

LONGEST = 2**24
"""Bytes of a line that is read; a longer one is skipped."""
LARGEST = 2**33
"""Bytes of a log."""
MARK = b"\xef\xbb\xbf"
"""What some editors put before the first character."""


class BrokenLine(ValueError):  # noqa: N818 - what it is, not that it went wrong
    """A line that cannot be read; what follows it can."""


def numbered_lines(path: Path) -> Iterator[tuple[int, str | BrokenLine]]:
    r"""Yield ``(number, text)`` of each line that is not blank, counted from 1, or ``(number, why not)``.

    Raises:
        DataError: if it is no regular file, is too large, or cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "log")
    ...     _ = path.write_bytes(b"one\n\n\xff\n")
    ...     [(number, str(line)[:25]) for number, line in numbered_lines(path)]
    [(1, 'one'), (3, 'expected UTF-8, got other')]
    """
    size = require_file(path).stat().st_size
    _check_size(size, path)
    with opened(path) as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            _check_size(file.tell(), path)  # unpacked, it may be larger
            number += 1
            line = line.removeprefix(MARK) if number == 1 else line
            if len(line) > LONGEST:
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST)
                    _check_size(file.tell(), path)
                yield number, BrokenLine(f"expected a line of up to {LONGEST:,} bytes, got more")
            elif line.strip():
                yield number, _text(line)


def _check_size(size: int, path: Path) -> None:
    if size > LARGEST:
        raise DataError(f"expected a log of up to {LARGEST:,} bytes, got {size:,} in {path}; split it")


def _text(line: bytes) -> str | BrokenLine:
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return BrokenLine("expected UTF-8, got other bytes")
