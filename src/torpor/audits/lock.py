"""One writer per folder: a lock that the kernel releases when its process dies, and that names its owner."""

from __future__ import annotations

import errno
import json
import os
import platform
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torpor.core.errors import DataError, UsageError
from torpor.core.files import require_file

NAME = ".torpor.lock"
"""The file that is locked; it is there only while somebody writes, or after a kill."""
OWN_FILES = ("audit.json", "plan.json", "records.parquet", "report.html", NAME)
OWN_FOLDERS = ("shards", "examples", "fitted")
"""What of an audit no other command may replace."""
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""What the kernel answers where a file system has no locks."""
PATIENCE_S = 5.0
"""How long a report, which takes no time to write, waits for another writer."""
_PAUSE_S = 0.05


class FolderLock:
    """Hold a folder while it is written; ``with FolderLock(folder): ...``.

    The lock is advisory and belongs to the open file, so two writers in one process exclude each other, too. On a file
    system without locks the owner named in the file is trusted instead, with a warning.

    Args:
        folder: it must exist.
        patience_s: how long to wait for another writer, in seconds.

    Raises:
        UsageError: on entry, if another process holds the folder, or it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, FolderLock(Path(name)) as lock:
    ...     lock.verify()  # nothing to complain about
    """

    def __init__(self, folder: Path, *, patience_s: float = 0.0) -> None:
        self.folder, self.path, self.patience_s = folder, folder / NAME, patience_s
        self.token = uuid.uuid4().hex
        self._file = -1

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self.patience_s
        try:
            while not self._take():
                if time.monotonic() >= deadline:
                    raise UsageError(
                        f"expected a folder that no other process writes, got {self.folder}, held by "
                        f"{_owner(self.path)}; wait for it or stop it, or pass another --out"
                    )
                time.sleep(_PAUSE_S)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            me = {"pid": os.getpid(), "host": platform.node(), "since": now, "token": self.token}
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(me).encode(), 0)
        except OSError as error:
            self._release()
            raise UsageError(
                f"expected a folder that can be written, got {self.folder}: {error}; pass another --out"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def verify(self) -> None:
        """Check that the folder is still the one that was locked.

        Raises:
            UsageError: if it was deleted, replaced, or taken over by another process.
        """
        if not self._mine():
            found = "another one of that name" if self.folder.is_dir() else "no folder"
            owner = f", held by {_owner(self.path)}" if self.path.is_file() else ""
            raise UsageError(
                f"expected the folder {self.folder} as it was claimed, got {found}{owner}; nothing more was written "
                "there, so repeat the command"
            )

    def _take(self) -> bool:
        """Open and lock the file; return False if somebody else has it."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            free = self._locked()
        except OSError:
            self._close()
            raise
        if free and self._same_file():  # or its last owner has deleted it in between
            return True
        self._close()
        return False

    def _locked(self) -> bool:
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except (OSError, ImportError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                f"{self.folder} lies on a file system without locks: do not run two commands on it at once",
                stacklevel=4,
            )
            return not _alive(_read(self.path))
        return True

    def _same_file(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _mine(self) -> bool:
        return self._file >= 0 and self._same_file() and _read(self.path).get("token") == self.token

    def _release(self) -> None:
        if self._file >= 0:
            with suppress(OSError):  # a folder that cannot be written any more
                if self._mine():
                    os.unlink(self.path)
            self._close()

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1


def verify_owner(folder: Path, token: str) -> None:
    """Check that another process, the driver of an audit, still holds ``folder``.

    Args:
        folder: of the audit.
        token: of the driver's lock.

    Raises:
        UsageError: if it does not: nothing may be written there any more.
    """
    path = folder / NAME
    if _read(path).get("token") != token or not _held(path):
        raise UsageError(
            f"expected the folder {folder} to be held by the audit that this worker belongs to, got another owner or "
            "none; nothing more was written there, so repeat the command"
        )


def _held(path: Path) -> bool:
    """Say whether somebody has locked a file; True where the file system cannot tell."""
    try:
        import fcntl

        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except ImportError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in _NO_LOCKS
    finally:
        os.close(file)
    return False


def refuse_own_files(path: Path) -> None:
    """Refuse to replace a file that belongs to an audit.

    Raises:
        UsageError: if ``path`` is one.
    """
    for folder, names in ((path.parent, OWN_FILES), (path.parent.parent, ())):
        below = path.parent.name in OWN_FOLDERS and folder != path.parent
        if _is_audit(folder) and (path.name in names or below):
            raise UsageError(f"expected a file outside of the audit in {folder}, got {path}; name another file")


@contextmanager
def beside_audit(path: Path) -> Iterator[None]:
    """Hold the folder that a file is about to be written into, if an audit lies there.

    Raises:
        UsageError: if another process holds it.
    """
    if not _is_audit(path.parent):
        yield
        return
    with FolderLock(path.parent, patience_s=PATIENCE_S):
        yield


def _is_audit(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("plan.json", "audit.json"))


def _read(path: Path) -> dict[str, Any]:
    """Return what the owner wrote; nothing where there is none yet."""
    try:
        found = json.loads(require_file(path).read_text(encoding="utf-8"))
    except (DataError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _owner(path: Path) -> str:
    found = _read(path)
    if "pid" not in found:
        return "another process"
    return f"process {found['pid']} on {found.get('host')} since {found.get('since')}"


def _alive(owner: dict[str, Any]) -> bool:
    """Say whether an owner may still run, by its number; those on other machines may."""
    pid = owner.get("pid")
    if not isinstance(pid, int):
        return False
    if owner.get("host") != platform.node():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
