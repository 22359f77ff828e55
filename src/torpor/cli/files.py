"""Files that verbs write where the user says."""

from __future__ import annotations

from pathlib import Path


def write_file(path: Path, text: str) -> None:
    """Write ``text`` to a file, whole or not at all, or to a device such as ``/dev/stdout``.

    Raises:
        UsageError: if it cannot be written.
    """
    from torpor.core.errors import UsageError
    from torpor.core.files import write_atomically

    try:
        if path.exists() and not path.is_file():  # such as /dev/stdout
            path.write_text(text, encoding="utf-8")
        else:
            write_atomically(path.resolve(), text)
    except OSError as error:
        raise UsageError(f"expected a writable file, got {error}; choose another path than {path}") from error


def append_to_file(path: Path, text: str) -> None:
    """Append ``text`` to a file, as services expect it of what they show beside a run.

    Raises:
        UsageError: if it cannot be written.
    """
    from torpor.core.errors import UsageError

    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"expected a writable file, got {error}; choose another path than {path}") from error
