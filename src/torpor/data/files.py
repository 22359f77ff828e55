"""Files of a user's own as a data set."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from torpor.core.errors import DataError, UsageError
from torpor.core.files import require_file
from torpor.data.sets import SPLITS, DataSet, Shortened

MOST = 2**30
"""Bytes that one file of a folder may hold."""


class Files(DataSet):
    """One file, or all in a folder by name. There are no references, and no split but ``test``.

    Args:
        path: the file or the folder.
    """

    what: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.cut = path, path.name, dict[int, int]()

    def fingerprint(self) -> str:
        """Return the name, the number of files, and a hash of all that they hold."""
        digest = hashlib.sha256()
        files = self._files()
        for file in files:
            try:
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
            except OSError as error:
                raise DataError(f"expected {self.what} in {file}, got: {error}; remove or repair it") from error
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
        count = 0
        for file in self.paths():
            for held in self._read(file):
                if isinstance(held, Shortened):
                    assert self.cut is not None  # only inputs with a length are shortened
                    self.cut[count] = held.lost
                    held = held.kept
                count += 1
                yield held, None
        if not count:
            raise DataError(f"expected {self.what} in {self.path}, got only blanks; write some, or pass another path")

    def paths(self) -> list[Path]:
        """Return the one file, or those in the folder by name.

        Raises:
            DataError: if there is none, or one of them cannot be read.
        """
        files = self._files()
        if not files:
            wanted = f"{self.what} ({', '.join(self.suffixes)})"
            there = sorted({file.suffix.lower() for file in self.path.iterdir() if file.suffix})
            if not there:
                raise DataError(f"expected {wanted} in {self.path}, got no such file; pass another folder")
            raise DataError(
                f"expected {wanted} in {self.path}, since the target reads {self.what}, got files of "
                f"{', '.join(there[:4])}; pass another folder, or a target that reads those"
            )
        return files

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [require_file(self.path)]
        try:
            found = sorted(file for file in self.path.iterdir() if file.suffix.lower() in self.suffixes)
        except OSError as error:
            raise DataError(f"expected a folder that can be read, got {self.path}: {error}; pass another") from error
        for file in found:
            require_file(file)
            if (size := file.stat().st_size) > MOST:
                raise DataError(f"expected files of up to {MOST:,} bytes, got {size:,} in {file}; split or remove it")
        return found

    @abstractmethod
    def _read(self, file: Path) -> Iterator[Any]:
        """Yield what ``file`` holds, as a target stores it."""
