"""Ask an OpenAI-compatible server, within bounds that no server can break: time, bytes, and no other address."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from torpor.core.errors import UsageError
from torpor.targets.endpoint.address import KEYS, Address, key_of_environment
from torpor.targets.endpoint.alarm import Alarm
from torpor.targets.endpoint.gathered import Gathered
from torpor.targets.endpoint.reply import LATE, Choice, Reply
from torpor.targets.endpoint.spending import Spending

LONGEST_ERROR = 300
"""Characters of a server's own words that are kept."""
HIDDEN, BEGUN = "[key]", 8
"""What stands for the key in what a server sent back; characters of its beginning that are hidden, too."""
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
        streams: whether answers come in parts where they may; for servers that refuse that, see
            :attr:`~torpor.targets.endpoint.reply.Reply.refuses_streams`, they come whole.

    Raises:
        UsageError: if the library that talks HTTP is missing.
    """

    address: Address
    spending: Spending
    limits: AnswerLimits = field(default_factory=AnswerLimits)
    streams: bool = True
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
        return self.ask(path, {"model": self.address.model, "temperature": 0, **body, **options}, prompt, **own)

    def ask(
        self,
        path: str,
        body: Mapping[str, Any],
        prompt: str,
        *,
        stream: bool = False,
        abort_after: int | None = None,
        most: float = 0.0,
        headers: Mapping[str, str] | None = None,
        sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Send one request, and read its answer as far as its limits go.

        Args:
            path: after the address.
            body: what is sent, as JSON; NaN is written as such.
            prompt: what the model reads.
            stream: whether the answer is to come in parts.
            abort_after: parts with text after which this side hangs up.
            most: that it can cost if the server keeps to what it is asked for.
            headers: on top of those of every request.
            sent: called once the limits of the run allow it, before it is sent.

        Raises:
            LimitReachedError: if a limit of the run does not allow it; nothing is sent then.
        """
        stream = stream and self.streams
        if stream:
            body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        own = _headers() | dict(headers or {})  # before anything is booked: a key may be refused
        self.spending.begin(most)
        began = time.monotonic()
        try:
            sent()
            reply = self._read(path, json.dumps(body).encode(), own, stream=stream, abort_after=abort_after)
        except BaseException:
            self.spending.lost(most)
            raise
        reply = replace(reply, seconds=time.monotonic() - began)
        self.spending.end(prompt, reply, most)
        return reply

    def models(self) -> Mapping[str, Any]:
        """Return what the server tells of the model under ``models``; empty if it tells nothing."""
        own = _headers()
        self.spending.begin()
        try:
            with Alarm(self.limits.total_s) as alarm, self._stream("GET", "models", own, alarm) as answer:
                found = json.loads(b"".join(self._parts(answer, time.monotonic())))
        except (ValueError, RecursionError, OSError, _Given):
            return {}
        except _transport():
            return {}
        finally:
            self.spending.lost(0.0)
        listed = found.get("data") if isinstance(found, Mapping) else None
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, Mapping) and each.get("id") == self.address.model:
                return each
        return {}

    def _stream(  # of httpx2
        self, method: str, path: str, headers: Mapping[str, str], alarm: Alarm, body: bytes = b""
    ) -> Any:  # noqa: ANN401
        traced = {"trace": alarm.trace}
        url = f"{self.address.url}/{path}"
        return self._http.stream(method, url, content=body or None, headers=headers, extensions=traced)

    def _read(
        self, path: str, body: bytes, headers: Mapping[str, str], *, stream: bool, abort_after: int | None
    ) -> Reply:
        began, gathered, first, status = time.monotonic(), Gathered(), math.nan, None
        wrong, error, aborted, wait = "", "", False, None
        alarm = Alarm(self.limits.total_s)
        try:
            with alarm, self._stream("POST", path, headers, alarm, body) as answer:
                status = answer.status_code
                if status != 200:
                    wait = _seconds(answer.headers.get("retry-after"))
                    error = _line(b"".join(self._parts(answer, began)))
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
        if alarm.rang and not aborted:
            wrong = _late(self.limits)
        read = tuple(map(_without_key, gathered.choices)), gathered.usage, gathered.pieces
        return Reply(status, *read, first, 0.0, wrong, error, aborted, wait)

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
                raise _Given(_late(self.limits))
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
    """Return a server's own words without the key, cut to a line."""
    try:
        found = json.loads(told)
        words = found["error"]["message"] if isinstance(found["error"], Mapping) else found["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        words = told.decode("utf-8", "replace")
    return _blotted(" ".join(str(words).split()))[:LONGEST_ERROR]


def _without_key(choice: Choice) -> Choice:
    """Return an answer in which the key does not stand, should a server send it back."""
    text, reasoning, finish = map(_blotted, (choice.text, choice.reasoning, choice.finish))
    return replace(choice, text=text, reasoning=reasoning, finish=finish)


def _blotted(text: str) -> str:
    """Return a text without the key, and without its beginning where the text breaks off in it."""
    key = key_of_environment()
    if key is None:
        return text
    text = text.replace(key, HIDDEN)
    begun = next((count for count in range(len(key) - 1, BEGUN - 1, -1) if text.endswith(key[:count])), 0)
    return text[: len(text) - begun] + HIDDEN if begun else text


def _late(limits: AnswerLimits) -> str:
    return f"{LATE} {limits.total_s:g} s"


def _seconds(said: str | None) -> float | None:
    """Return the seconds of a header ``Retry-After``; None without one, or if it names a date."""
    return float(said) if said is not None and said.isascii() and said.isdigit() and len(said) < 6 else None


def _headers() -> dict[str, str]:
    key = key_of_environment()
    if key is not None and not (key.isascii() and key.isprintable()):
        raise UsageError(f"expected a key of printable ASCII characters in {KEYS[0]}, got others; set it again")
    own = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return own if key is None else {**own, "Authorization": f"Bearer {key}"}


def _transport() -> tuple[type[Exception], ...]:
    import httpx2

    return (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
