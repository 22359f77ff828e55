"""Files that may be opened, since a FIFO would block forever and a device has no end; and what lies beside them."""

from __future__ import annotations

import stat
from pathlib import Path

from torpor.core.errors import DataError

TEXTS = ".texts.parquet"
"""How the names of files end that hold texts."""
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def require_file(path: Path) -> Path:
    """Return ``path`` if it is a regular file, or a link to one.

    Raises:
        DataError: if it is anything else, is missing, or cannot be looked at.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     require_file(Path(file.name)) == Path(file.name)
    True
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        what = "a link to nothing" if path.is_symlink() else f"none ({getattr(error, 'strerror', None) or error})"
        raise DataError(f"expected a regular file at {path}, got {what}; remove or replace it") from error
    if not stat.S_ISREG(mode):
        what = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise DataError(f"expected a regular file at {path}, got {what}; remove or replace it")
    return path


def texts_beside(path: Path) -> Path:
    """Return the file of the texts that belong to a file of tensors; there is none where nothing is text.

    >>> texts_beside(Path("examples/nmtsloth-char-chars-3.safetensors")).name
    'nmtsloth-char-chars-3.texts.parquet'
    """
    return path.with_suffix(TEXTS)
