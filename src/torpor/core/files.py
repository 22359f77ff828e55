"""Files that may be opened, since a FIFO would block forever; what lies beside them; and writing them in one step."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torpor.core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

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
        what = "a link to nothing" if path.is_symlink() else unread(error)
        raise DataError(f"expected a regular file at {path}, got {what}; remove or replace it") from error
    if not stat.S_ISREG(mode):
        what = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise DataError(f"expected a regular file at {path}, got {what}; remove or replace it")
    return path


def unread(error: Exception) -> str:
    """Say in words why a file could not be read.

    >>> unread(FileNotFoundError(2, "No such file or directory", "prices.toml"))
    'none (No such file or directory)'
    """
    return f"none ({error.strerror})" if isinstance(error, OSError) and error.strerror else str(error)


def texts_beside(path: Path) -> Path:
    """Return the file of the texts that belong to a file of tensors; there is none where nothing is text.

    >>> texts_beside(Path("examples/nmtsloth-char-chars-3.safetensors")).name
    'nmtsloth-char-chars-3.texts.parquet'
    """
    return path.with_suffix(TEXTS)


def write_atomically(path: Path, text: str, own: str = "") -> None:
    """Replace ``path`` by ``text`` in one step.

    Args:
        path: what is replaced.
        text: its new content.
        own: part of the name of the unfinished file, where others may write the same ``path``.
    """
    partial = partial_of(path, own)
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path, own: str = "") -> Path:
    """Return where the unfinished ``path`` is written; ``own`` as in :func:`write_atomically`."""
    return path.with_name(f"{path.name}{'.' * bool(own)}{own}.partial")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], own: str = "") -> None:
    """Replace ``path`` by a safetensors file in one step; see :func:`write_atomically`.

    Raises:
        OSError: if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path, own)
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, partial)
        partial.chmod(0o644)  # safetensors writes files for their owner alone
        os.replace(partial, path)
    except SafetensorError as error:  # what safetensors makes of any trouble with the disk
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)
