"""Files of a user's own as a data set."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import SPLITS, DataSet


class Files(DataSet):
    """One file, or all in a folder by name. There are no references, and no split but ``test``.

    Args:
        path: the file or the folder.
    """

    what: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name

    def fingerprint(self) -> str:
        """Return the name, the number of files, and a hash of all that they hold."""
        digest = hashlib.sha256()
        files = [file for file in self._files() if file.is_file()]
        for file in files:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return f"{self.name} {len(files)} {digest.hexdigest()[:16]}"

    def samples(self, split: str) -> Iterator[tuple[Any, None]]:
        """Yield ``(input as it is stored, None)``.

        Raises:
            UsageError: if ``split`` does not exist.
            DataError: if it is not ``test``, if there is nothing in it, or if a file cannot be read.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        if split != "test":
            raise DataError(f"expected split test, got {split}; {self.path} holds {self.what} to audit, none to fit on")
        files = self._files()
        if not files:
            wanted = f"{self.what} ({', '.join(self.suffixes)})"
            raise DataError(f"expected {wanted} in {self.path}, got no such file; pass another folder")
        blank = True
        for file in files:
            for held in self._read(file):
                blank = False
                yield held, None
        if blank:
            raise DataError(f"expected {self.what} in {self.path}, got only blanks; write some, or pass another path")

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        return sorted(file for file in self.path.iterdir() if file.suffix.lower() in self.suffixes)

    @abstractmethod
    def _read(self, file: Path) -> Iterator[Any]:
        """Yield what ``file`` holds, as a target stores it."""
