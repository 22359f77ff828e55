"""Whose folder it is: the identity of an audit in ``plan.json``, and the right to write beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor.audits.lock import NAME, FolderLock
from torpor.audits.read import read_audit
from torpor.audits.run.limits import Limits
from torpor.audits.run.store import Store
from torpor.core.errors import TorporError, UsageError
from torpor.core.files import write_atomically

OWN = ("plan.json", "plan.json.partial", NAME)
"""Files that hold nothing of what an audit found."""
GLANCE_S = 0.1
"""How long a worker of a driver that was killed may hold the lock while it finds that out."""


@dataclass(frozen=True)
class Claim:
    """A folder that this process alone may write.

    Attributes:
        lock: what holds it.
        complete: whether the same audit is already finished there.
    """

    lock: FolderLock
    complete: bool


@contextmanager
def claimed(mine: Mapping[str, Any], out: Path, repairable: str = "") -> Iterator[Claim]:
    """Make ``out`` the folder of the audit that ``mine`` identifies, and hold it for the length of a ``with`` block.

    A folder in which another audit began but has not got as far as its first results is taken over.

    Args:
        mine: what identifies the audit, ready for JSON.
        out: the folder.
        repairable: the one entry that may differ as long as the audit is not finished; empty for none.

    Raises:
        UsageError: if it belongs to something else, is held by another process, or cannot be written.
    """
    own = json.loads(json.dumps(mine))
    with ExitStack() as stack:
        try:
            _belongs(own, out, repairable)  # before anything is written there
            out.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(FolderLock(out, patience_s=GLANCE_S))
            known = _belongs(own, out, repairable)
            if not known:
                write_atomically(out / "plan.json", json.dumps(own, indent=1) + "\n")
        except OSError as error:
            raise UsageError(
                f"expected a folder that can be written, got {out}: {error}; pass another --out"
            ) from error
        yield Claim(lock, (out / "audit.json").is_file())


def goes_on(store: Store, limits: Limits) -> frozenset[int] | None:
    """Tell whether a finished audit was cut off, or its searches were, and may resume now: then it is unfinished.

    Returns:
        The batches that are attacked anew, since their searches may take longer now; None if it does not resume.
    """
    path = store.folder / "audit.json"
    try:
        samples = read_audit(store.folder).samples or {}
    except TorporError:  # a finished audit is shown as it is, with what is wrong with it
        samples = {}
    cut_off, cut_short = samples.get("cut_off"), samples.get("cut_short")
    if not cut_off and not cut_short:
        store.clear()
        return None
    further = cut_off is not None and limits.allow_more(cut_off["limit"], cut_off["value"])
    longer = cut_short is not None and limits.longer_than(cut_short)
    if not further and not longer:
        return None
    count = samples.get("batches") or 0
    there = set(range(count)) - set(store.lost(count))
    store.verify()
    path.unlink()
    return frozenset(number for number in there if longer and store.spent(number).cut_short)


def _belongs(mine: dict[str, Any], out: Path, repairable: str) -> bool:
    """Return whether the plan of this very audit lies in ``out``, to the letter.

    Raises:
        UsageError: if something else does.
    """
    path = out / "plan.json"
    others = {entry.name for entry in out.iterdir()} - set(OWN) if out.is_dir() else set()
    if path.is_file():
        found = _load(path)
        if found == mine:
            return True
        names = differing(mine, found)
        if others and (names != [repairable] or "audit.json" in others):
            raise UsageError(
                f"expected an empty folder or this same audit in {out}, got one with other settings, weights, data or "
                f"versions, or of other code; pass another --out (what differs: {', '.join(names)})"
            )
        return False
    if others or (out.exists() and not out.is_dir()):
        raise UsageError(f"expected an empty folder, got {out} with other content; pass another --out")
    return False


def _load(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected JSON in {path}, got {error}; pass another --out, or delete that folder") from error


def differing(mine: Mapping[str, Any], found: object) -> list[str]:
    """Name the entries in which two identities differ, those of nested ones by both names.

    >>> differing({"seed": 0, "code": {"a": 1, "b": 2}}, {"seed": 0, "code": {"a": 3, "b": 2}})
    ['code a']
    """
    if not isinstance(found, Mapping):
        return ["everything"]
    names = []
    for key in dict.fromkeys([*mine, *found]):
        ours, theirs = mine.get(key), found.get(key)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            names += [f"{key} {name}".replace("_", " ") for name in differing(ours, theirs)]
        elif ours != theirs:
            names.append(str(key).replace("_", " "))
    return names
