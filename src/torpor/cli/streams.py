"""Printing of plain text: what came from elsewhere is printable text, and nothing else, on either standard stream."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import IO, Any, ParamSpec, TypeVar

from torpor.reports.kit.printable import printable

LONGEST = 4000
"""Characters of a sentence that are shown: texts of hostile origin must not fill the screen."""

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


class GuardedStream:
    """A standard stream on which others may print: what they write is made printable, line by line.

    Args:
        unguarded: the stream itself.
    """

    def __init__(self, unguarded: IO[str]) -> None:
        self.unguarded = unguarded

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a stream has
        return getattr(self.unguarded, name)

    def write(self, text: str) -> int:
        """Write ``text`` without control characters; where a bar would go back to the start of its line, a new one."""
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        self.unguarded.write(printable(lines, lines=True))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``."""
        for line in lines:
            self.write(line)


def prepare() -> None:
    """Make the standard streams take any text: what they cannot encode is escaped; closed ones are replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process lives
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def show_crash(error: BaseException) -> None:
    """Print a traceback of an unexpected error, made printable like all other output."""
    traceback.print_exception(error, file=GuardedStream(sys.stderr))


def say(text: str) -> None:
    """Print one sentence, on one line however long."""
    print(printable(text))


def note(text: str) -> None:
    """Print one sentence to standard error that is no part of the result."""
    print(printable(text), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print one sentence to standard error, on one line."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 4 :]}"
    print(f"torpor: {printable(text)}", file=sys.stderr, flush=True)


def print_json(value: object, indent: int | None = None) -> None:
    """Print one JSON document, in ASCII."""
    print(json.dumps(value, indent=indent))


@contextmanager
def guarded() -> Iterator[None]:
    """Guard both standard streams, and write warnings of libraries as sentences."""

    def formatted(message: Warning | str, *place: object, **more: object) -> str:
        return f"torpor: warning: {printable(str(message))}\n"

    before = sys.stdout, sys.stderr, warnings.formatwarning
    sys.stdout, sys.stderr = GuardedStream(sys.stdout), GuardedStream(sys.stderr)
    warnings.formatwarning = formatted
    try:
        yield
    finally:
        sys.stdout, sys.stderr, warnings.formatwarning = before


class ReaderGone(Exception):  # noqa: N818 - not an error of the program
    """The reader of standard output has gone; not an OSError, which typer would report as a crash."""


def verb(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Return a verb of the command line that runs with guarded streams."""

    @wraps(function)
    def run(*args: Given.args, **settings: Given.kwargs) -> Returned:
        with guarded():
            try:
                return function(*args, **settings)
            except BrokenPipeError as error:
                raise ReaderGone from error
            except SystemExit as error:
                from torpor.core.errors import UsageError

                raise UsageError(
                    f"expected the target's code to return, got SystemExit: {error.code}; it must not end the process"
                ) from error

    return run
