"""Ask an OpenAI-compatible server, within bounds that no server can break: time, bytes, and no other address."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from torpor.core.errors import UsageError
from torpor.targets.endpoint.address import KEYS, Address, key_of_environment
from torpor.targets.endpoint.gathered import Gathered
from torpor.targets.endpoint.reply import Reply
from torpor.targets.endpoint.spending import Spending

LONGEST_ERROR = 300
"""Characters of a server's own words that are kept."""
CHAT, COMPLETIONS = "chat/completions", "completions"


@dataclass(frozen=True)
class AnswerLimits:
    """How long, and how much, is read of one answer.

    Attributes:
        connect_s: seconds until the server takes the request.
        idle_s: seconds between two parts of an answer.
        total_s: seconds until its end.
        bytes: of the whole answer.
    """

    connect_s: float = 10.0
    idle_s: float = 60.0
    total_s: float = 300.0
    bytes: int = 16 * 2**20


@dataclass
class Client:
    """Asks one server, and no other: redirects are not followed, no proxy is used, nothing compressed is taken.

    Attributes:
        address: of the server.
        spending: counts what is sent.
        limits: of each answer.

    Raises:
        UsageError: if the library that talks HTTP is missing.
    """

    address: Address
    spending: Spending
    limits: AnswerLimits = field(default_factory=AnswerLimits)
    _http: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise UsageError("expected httpx2 to ask an endpoint, got none; pip install 'torpor[endpoints]'") from error
        waits = httpx2.Timeout(self.limits.idle_s, connect=self.limits.connect_s)
        fresh = httpx2.Limits(max_keepalive_connections=0)  # a connection that a server closed is not tried again
        self._http = httpx2.Client(timeout=waits, limits=fresh, trust_env=False, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def chat(self, prompt: str, **options: Any) -> Reply:  # noqa: ANN401 - whatever the API takes
        """Send one user message; ``stream`` and ``abort_after`` as in :meth:`ask`, everything else is the API's."""
        return self._prompt(CHAT, {"messages": [{"role": "user", "content": prompt}]}, prompt, options)

    def complete(self, prompt: str, **options: Any) -> Reply:  # noqa: ANN401 - as above
        """Send a prompt to be continued; options as of :meth:`chat`."""
        return self._prompt(COMPLETIONS, {"prompt": prompt}, prompt, options)

    def _prompt(self, path: str, body: dict[str, Any], prompt: str, options: dict[str, Any]) -> Reply:
        own = {name: options.pop(name) for name in ("stream", "abort_after") if name in options}
        return self.ask(
            path, {"model": self.address.model, "temperature": 0, **body, **options}, len(prompt.encode()), **own
        )

    def ask(
        self,
        path: str,
        body: Mapping[str, Any],
        prompt_bytes: int,
        *,
        stream: bool = False,
        abort_after: int | None = None,
    ) -> Reply:
        """Send one request, and read its answer as far as its limits go.

        Args:
            path: after the address.
            body: what is sent, as JSON; NaN is written as such.
            prompt_bytes: length of what the model reads.
            stream: whether the answer is to come in parts.
            abort_after: parts with text after which this side hangs up.

        Raises:
            LimitReachedError: if a limit of the run does not allow it; nothing is sent then.
        """
        if stream:
            body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        self.spending.begin()
        began = time.monotonic()
        reply = self._read(path, json.dumps(body).encode(), began, stream=stream, abort_after=abort_after)
        reply = replace(reply, seconds=time.monotonic() - began)
        self.spending.end(prompt_bytes, reply)
        return reply

    def models(self) -> Mapping[str, Any]:
        """Return what the server tells of the model under ``models``; empty if it tells nothing."""
        self.spending.begin()
        try:
            with self._http.stream("GET", f"{self.address.url}/models", headers=_headers()) as answer:
                found = json.loads(b"".join(self._parts(answer, time.monotonic())))
        except (ValueError, OSError, _Given):
            return {}
        except _transport():
            return {}
        listed = found.get("data") if isinstance(found, Mapping) else None
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, Mapping) and each.get("id") == self.address.model:
                return each
        return {}

    def _read(self, path: str, body: bytes, began: float, *, stream: bool, abort_after: int | None) -> Reply:
        gathered, first, status = Gathered(), math.nan, None
        wrong, error, aborted = "", "", False
        try:
            with self._http.stream("POST", f"{self.address.url}/{path}", content=body, headers=_headers()) as answer:
                status = answer.status_code
                if status != 200:
                    told = b"".join(self._parts(answer, began))
                    error = _line(told)
                    wrong = f"status {status}" if not 400 <= status < 500 else ""
                else:
                    for found in _objects(self._parts(answer, began), streamed=stream):
                        held = gathered.add(found, streamed=stream)
                        if held and math.isnan(first):
                            first = time.monotonic() - began
                        if abort_after is not None and gathered.pieces >= abort_after:
                            aborted = True
                            break
        except _Given as given:
            wrong = str(given)
        except (ValueError, RecursionError):
            wrong = "no JSON"
        except _transport() as broken:
            wrong = f"{type(broken).__name__}"
        return Reply(status, gathered.choices, gathered.usage, gathered.pieces, first, 0.0, wrong, error, aborted)

    def _parts(self, answer: Any, began: float) -> Iterator[bytes]:  # noqa: ANN401 - of httpx2
        """Yield the bytes of an answer, as far as its limits go.

        Raises:
            _Given: if it does not.
        """
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise _Given("a compressed answer that was not asked for")
        size = 0
        for part in answer.iter_raw():
            size += len(part)
            if size > self.limits.bytes:
                raise _Given(f"an answer of more than {self.limits.bytes:,} bytes")
            if time.monotonic() - began > self.limits.total_s:
                raise _Given(f"an answer that did not end within {self.limits.total_s:g} s")
            yield part


class _Given(Exception):  # noqa: N818 - no error: this side gave an answer up
    """An answer was given up; its text says why."""


def _objects(parts: Iterator[bytes], *, streamed: bool) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects of an answer: one per event of a stream, else the whole."""
    if not streamed:
        whole = json.loads(b"".join(parts))
        if not isinstance(whole, Mapping):
            raise ValueError("no object")
        yield whole
        return
    rest, ended = b"", False
    # Some servers do not say that a stream is done; then the reason for which an answer ended is its end.
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            event = line.strip()
            if not event.startswith(b"data:"):
                continue
            data = event.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                ended = True
                continue
            found = json.loads(data)
            if isinstance(found, Mapping):
                ended |= b'"finish_reason"' in data and b'"finish_reason":null' not in data.replace(b" ", b"")
                yield found
    if not ended:
        raise _Given("a stream that broke off")


def _line(told: bytes) -> str:
    """Return a server's own words, cut to a line."""
    try:
        found = json.loads(told)
        words = found["error"]["message"] if isinstance(found["error"], Mapping) else found["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        words = told.decode("utf-8", "replace")
    return " ".join(str(words).split())[:LONGEST_ERROR]


def _headers() -> dict[str, str]:
    key = key_of_environment()
    if key is not None and not key.isprintable():
        raise UsageError(f"expected a key of printable characters in {KEYS[0]}, got others; set it again")
    own = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return own if key is None else {**own, "Authorization": f"Bearer {key}"}


def _transport() -> tuple[type[Exception], ...]:
    import httpx2

    return (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
