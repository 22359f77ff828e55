"""The journal of an audit: every request that is sent, and what came of it, so that none is sent twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torpor.core.errors import DataError, UsageError
from torpor.targets.endpoint.reply import Reply
from torpor.targets.endpoint.spending import Bill

NAME = "answers.jsonl"
"""Its file, in the folder of an audit."""
SENT, ANSWERED, AGAIN = "sent", "answered", "again"
"""A request that was sent; one whose answer is kept; one whose answer is not, since it is sent again."""


@dataclass
class EarlierAnswers:
    """What a journal holds.

    Attributes:
        replies: by the digest of the request.
        requests: that were sent.
        tokens: prompt and output tokens.
        cost: of all; what was under way when a run was ended counts at the most that it can cost.
        under_way: digests of requests of which nothing is known but that they were sent, or were about to be.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    requests: int = 0
    tokens: tuple[int, int] = (0, 0)
    cost: float = 0.0
    under_way: frozenset[str] = frozenset()


class Journal:
    """Appends to a file, line by line; requests are known by a digest, answers are kept as the records keep them.

    A line that a kill cut short is dropped: what it told of counts as under way.

    Args:
        path: of the file.

    Raises:
        UsageError: if it cannot be written.
        DataError: if it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        try:
            held = path.read_bytes() if path.exists() else b""
            whole = held[: held.rfind(b"\n") + 1]
            self.earlier = _read(whole.splitlines(), path)
            self._file = path.open("r+b" if path.exists() else "wb")
            self._file.truncate(len(whole))
            self._file.seek(len(whole))
        except OSError as error:
            raise UsageError(
                f"expected a journal that can be written, got {path}: {error}; pass another --out"
            ) from error

    def sent(self, key: str, most: float) -> None:
        """Note a request before it is sent, and the most that it can cost."""
        self._write({"event": SENT, "key": key, "most": most})

    def answered(self, key: str, bill: Bill, reply: Reply) -> None:
        """Note an answer that is kept."""
        self._write({"event": ANSWERED, "key": key, **bill._asdict(), "reply": reply.to_json()})

    def again(self, key: str, bill: Bill) -> None:
        """Note that a request came to its end, and that it is going to be sent again."""
        self._write({"event": AGAIN, "key": key, **bill._asdict()})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        with self._lock:
            try:
                self._file.write(line)
                self._file.flush()
            except OSError as error:
                raise UsageError(f"expected a journal that can be written, got {self.path}: {error}") from error


def _read(lines: list[bytes], path: Path) -> EarlierAnswers:
    found, under_way, most = EarlierAnswers(), Counter[str](), dict[str, float]()
    for number, entry in enumerate(_entries(lines, path), 1):
        try:
            key = str(entry["key"])
            if entry["event"] == SENT:
                found.requests += 1
                under_way[key] += 1
                most[key] = float(entry["most"])
                continue
            under_way[key] -= 1
            found.tokens = (found.tokens[0] + int(entry["prompt"]), found.tokens[1] + int(entry["output"]))
            found.cost += float(entry["cost"])
            if entry["event"] == ANSWERED:
                found.replies[key] = Reply.of_json(entry["reply"])
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, number) from error
    found.cost += sum(max(0, count) * most.get(key, 0.0) for key, count in under_way.items())
    found.under_way = frozenset(key for key, count in under_way.items() if count > 0) - set(found.replies)
    return found


def _entries(lines: list[bytes], path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number) from error
        if not isinstance(entry, dict):
            raise _damaged(path, number)
        yield entry


def _damaged(path: Path, number: int) -> DataError:
    return DataError(
        f"expected the journal of an audit in {path}, got something else in line {number}; restore it, or pass another "
        "--out"
    )
