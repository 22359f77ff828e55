"""An OpenAI-compatible server for tests: deterministic, on loopback, and with faults that can be switched on.

Its "model" counts: it writes ``1 2 3 ...``, one token per word, for as long as the prompt says (``for 40 words``), else
200 words. A prompt with ``think`` in it makes it reason for 40 words first. Its own log tells what was asked.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NATURAL, THOUGHTS, MOST = 200, 40, 2000
DOLLARS = 0.001
"""Price of a token."""
FAULTS = (
    "ignores-max-tokens",  # writes on behind max_tokens
    "ignores-completion-tokens",
    "ignores-stop",
    "many-choices",  # takes any n and any best_of
    "many-logprobs",
    "ignores-thinking-budget",
    "long-prompts",  # takes prompts of more than its context
    "ignores-timeout",
    "keeps-computing",  # goes on when the client has left
    "streams-on",  # max_tokens holds for whole answers alone
    "takes-odd-values",
    "fails-on-odd-values",
    "counts-requests",  # charges 1 per request against a quota of tokens
    "late-quota",  # looks at the quota only before it answers, whoever else is being answered
    "no-quota",
    "no-parallel-limit",
    "no-dollar-limit",
    "drips-headers",  # a byte at a time, and never to their end
    "drips-body",  # the same, after headers that end
    "no-usage",
    "wrong-usage",  # bills one token, whatever it wrote
    "endless",
    "huge",
    "broken-json",
    "redirects",
    "gzip-bomb",
)


@dataclass
class Behavior:
    """How the server behaves.

    Attributes:
        faults: names among ``FAULTS``.
        tokens_per_minute: quota of prompt and output tokens; None for none.
        context: tokens of a prompt at most.
        window_s: after which the quota is whole again.
        token_s: seconds that a token takes; one token at a time is computed, whoever asks.
        timeout_s: after which an answer is ended.
        thinks: whether it can reason.
        knows: whether it knows the newer names of options.
        drip_s: seconds between the bytes of the headers of an answer that drips.
        parallel: requests that it answers at once; None for any number.
        dollars: that a key may spend, at ``DOLLARS`` for each token; None for any number.
        streams: whether it takes requests for streams that end with what they bill.
        varies: whether each answer to the same prompt is a word longer than the last.
        unavailable: requests that it refuses for now before it takes any.
        echoes: whether it sends back the key that it is asked with.
        cached: tokens of each prompt that come from a cache.
    """

    faults: frozenset[str] = frozenset()
    tokens_per_minute: int | None = None
    context: int = 1000
    window_s: float = 60.0
    token_s: float = 0.0
    timeout_s: float | None = None
    thinks: bool = True
    knows: bool = True
    drip_s: float = 0.05
    parallel: int | None = None
    dollars: float | None = None
    streams: bool = True
    varies: bool = False
    unavailable: int = 0
    echoes: bool = False
    cached: int = 0

    def __post_init__(self) -> None:
        assert self.faults <= set(FAULTS), self.faults


@dataclass
class FakeServer:
    """A running server; leave its ``with`` block to stop it.

    Attributes:
        behavior: how it behaves, to be changed at any time.
        log: every request: its path, its body and its headers.
        computed: tokens that the model has written in all.
    """

    behavior: Behavior = field(default_factory=Behavior)
    log: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    computed: int = 0
    charged: int = 0
    running: int = 0
    spent: float = 0.0
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _core: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FakeServer:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.get(self)

            def do_POST(self) -> None:
                server.post(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        """How torpor calls it."""
        return f"openai:http://127.0.0.1:{self._http.server_port}/v1"

    def has(self, fault: str) -> bool:
        """Tell whether a fault is switched on."""
        assert fault in FAULTS
        return fault in self.behavior.faults

    def get(self, to: BaseHTTPRequestHandler) -> None:
        """Answer ``/v1/models``."""
        known = {"id": "fake", "object": "model", "max_model_len": self.behavior.context}
        send(to, 200, {"object": "list", "data": [known]})

    def post(self, to: BaseHTTPRequestHandler) -> None:
        """Answer a request for text."""
        body = json.loads(to.rfile.read(int(to.headers["Content-Length"])))
        with self._lock:
            self.log.append((to.path, body, dict(to.headers)))
        if self._misbehaves(to):
            return
        if len(self.log) <= self.behavior.unavailable:
            send(to, 503, {"error": {"message": "busy"}}, {"Retry-After": "0"})
            return
        more = len(self.log) if self.behavior.varies else 0
        secret = to.headers.get("Authorization", "") if self.behavior.echoes else ""
        asked = Asked(self.behavior, to.path, body, more, secret)
        if problem := asked.problem():
            send(
                to,
                500 if self.has("fails-on-odd-values") and "odd" in problem else 400,
                {"error": {"message": problem}},
            )
            return
        bill = 1 if self.has("counts-requests") else asked.prompt_tokens + asked.most
        if not self._admit(bill):
            send(to, 429, {"error": {"message": "quota of tokens per minute reached"}})
            return
        if refused := self._of_a_key(asked):
            send(to, 429, {"error": {"message": refused}})
            return
        try:
            self._answer(to, asked)
        finally:
            with self._lock:
                self.running -= 1

    def _of_a_key(self, asked: Asked) -> str:
        """Begin to answer, unless the key has too many requests under way, or has spent its dollars; say which."""
        behavior = self.behavior
        with self._lock:
            many = behavior.parallel is not None and self.running >= behavior.parallel
            if many and not self.has("no-parallel-limit"):
                return "too many requests at once"
            if behavior.dollars is not None and self.spent >= behavior.dollars and not self.has("no-dollar-limit"):
                return "the key has spent its dollars"
            self.running += 1
            self.spent += DOLLARS * (asked.prompt_tokens + asked.most)
        return ""

    def _answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        if asked.body.get("stream"):
            self._stream(to, asked)
        else:
            words = [list(self._words(asked)) for _ in range(asked.choices)]
            send(
                to,
                200,
                {"choices": [asked.choice(at, each) for at, each in enumerate(words)], **self._bill(asked, words)},
            )

    def _admit(self, tokens: int) -> bool:
        """Charge the quota, unless there is too little left."""
        quota = self.behavior.tokens_per_minute
        if time.monotonic() - self._since > self.behavior.window_s:
            self._since, self.charged = time.monotonic(), 0
        if quota is None or self.has("no-quota"):
            return True
        if self.has("late-quota"):
            admitted = self.charged < quota
            time.sleep(0.05)  # those who ask meanwhile see the same account
            self.charged += tokens
            return admitted
        with self._lock:
            if self.charged + tokens > quota:
                return False
            self.charged += tokens
            return True

    def _words(self, asked: Asked) -> Iterator[tuple[bool, str]]:
        """Compute the words of one answer, each with whether it is a thought."""
        began = time.monotonic()
        for word in asked.words():
            late = self.behavior.timeout_s is not None and time.monotonic() - began > self.behavior.timeout_s
            if late and not self.has("ignores-timeout"):
                return
            if self.behavior.token_s:
                with self._core:
                    time.sleep(self.behavior.token_s)
            with self._lock:
                self.computed += 1
            yield word

    def _bill(self, asked: Asked, words: list[list[tuple[bool, str]]]) -> dict[str, Any]:
        if self.has("no-usage"):
            return {}
        written = sum(map(len, words))
        thoughts = sum(thought for each in words for thought, _ in each)
        return {
            "usage": {
                "prompt_tokens": asked.prompt_tokens,
                "prompt_tokens_details": {"cached_tokens": min(self.behavior.cached, asked.prompt_tokens)},
                "completion_tokens": 1 if self.has("wrong-usage") else written,
                "completion_tokens_details": {"reasoning_tokens": thoughts},
            }
        }

    def _stream(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "text/event-stream")
        to.end_headers()
        gone = False
        words: list[list[tuple[bool, str]]] = []
        for at in range(asked.choices):
            told = []
            for word in self._words(asked):
                told.append(word)
                try:
                    if not gone:
                        event(to, {"choices": [asked.part(at, word)]})
                except OSError:
                    if not self.has("keeps-computing"):
                        return
                    gone = True
            words.append(told)
        if not gone:
            event(to, {"choices": [], **self._bill(asked, words)})
            to.wfile.write(b"data: [DONE]\n\n")

    def _misbehaves(self, to: BaseHTTPRequestHandler) -> bool:
        """Answer as a hostile server, if it is one."""
        if self.has("drips-headers"):
            drip(to, self.behavior.drip_s)
        elif self.has("drips-body"):
            to.send_response(200)
            to.end_headers()
            drip(to, self.behavior.drip_s)
        elif self.has("redirects"):
            to.send_response(302)
            to.send_header("Location", "http://127.0.0.1:9/elsewhere")
            to.send_header("Content-Length", "0")
            to.end_headers()
        elif self.has("broken-json"):
            raw(to, b'{"choices": [')
        elif self.has("huge"):
            raw(to, b'{"choices": [{"text": "' + b"x" * (4 * 2**20) + b'"}]}')
        elif self.has("gzip-bomb"):
            raw(to, gzip.compress(b" " * 2**24), {"Content-Encoding": "gzip"})
        elif self.has("endless"):
            to.send_response(200)
            to.end_headers()
            try:
                while True:
                    event(to, {"choices": [{"index": 0, "delta": {"content": "on "}}]})
                    time.sleep(0.005)
            except OSError:
                return True
        else:
            return False
        return True


@dataclass
class Asked:
    """One request, read as the server understands it."""

    behavior: Behavior
    path: str
    body: Mapping[str, Any]
    more: int = 0
    secret: str = ""

    def has(self, fault: str) -> bool:
        return fault in self.behavior.faults

    @property
    def prompt(self) -> str:
        messages = self.body.get("messages")
        return str(messages[-1]["content"] if messages else self.body.get("prompt", ""))

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt.split())

    def _number(self, name: str) -> object:
        return self.body.get(name) if self.behavior.knows or name == "max_tokens" else None

    def problem(self) -> str:
        """Return why the request is refused; empty if it is not."""
        if "stream_options" in self.body and not self.behavior.streams:
            return "Extra inputs are not permitted: stream_options"
        for name in ("max_tokens", "max_completion_tokens", "n", "best_of", "top_logprobs", "logprobs"):
            value = self._number(name)
            least = 0 if "logprobs" in name else 1
            odd = value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least)
            if odd and not (name == "logprobs" and isinstance(value, bool)) and not self.has("takes-odd-values"):
                return f"odd {name}"
        if not self.has("many-choices") and max(self.choices, self._int("best_of", 1)) > 8:
            return "at most 8 choices"
        if not self.has("many-logprobs") and max(self._int("top_logprobs", 0), self._int("logprobs", 0)) > 20:
            return "at most 20 logprobs"
        if self.prompt_tokens > self.behavior.context and not self.has("long-prompts"):
            return "the prompt is longer than the context"
        return ""

    def _int(self, name: str, default: int) -> int:
        value = self._number(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default

    @property
    def choices(self) -> int:
        return self._int("n", 1)

    @property
    def most(self) -> int:
        """Tokens that each answer may have."""
        said = []
        streams = bool(self.body.get("stream")) and self.has("streams-on")
        if not self.has("ignores-max-tokens") and not streams:
            said.append(self._int("max_tokens", MOST))
        if not self.has("ignores-completion-tokens") and not streams:
            said.append(self._int("max_completion_tokens", MOST))
        found = re.search(r"for (\d+) words", self.prompt)
        return min([(int(found[1]) if found else NATURAL) + self.more, MOST, *said])

    def words(self) -> Iterator[tuple[bool, str]]:
        """Yield what the model would write: whether it is a thought, and the word."""
        left = self.most
        if self.behavior.thinks and "think" in self.prompt:
            budget = self._int("thinking_token_budget", THOUGHTS)
            thoughts = THOUGHTS if self.has("ignores-thinking-budget") else min(THOUGHTS, budget)
            for number in range(min(thoughts, left)):
                yield True, f"hm{number}"
            left -= thoughts
        if self.secret:
            yield False, self.secret
            left -= 1
        stops = self.body.get("stop") or []
        stops = [stops] if isinstance(stops, str) else stops
        for number in range(1, left + 1):
            if not self.has("ignores-stop") and any(stop in f" {number}" for stop in stops):
                return
            yield False, str(number)

    def choice(self, at: int, words: list[tuple[bool, str]]) -> dict[str, Any]:
        """Return one whole answer."""
        text = " ".join(word for thought, word in words if not thought)
        thoughts = " ".join(word for thought, word in words if thought)
        tops = self._int("top_logprobs", self._int("logprobs", 0))
        logprobs: dict[str, Any] | None = {"content": [{"top_logprobs": [{}] * tops}]} if tops else None
        if "chat" in self.path:
            message = {"role": "assistant", "content": text, "reasoning_content": thoughts}
            return {"index": at, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        asked = self._int("prompt_logprobs", 0) if self.has("many-logprobs") else 0
        listed: list[dict[str, Any]] | None = [{str(rank): {} for rank in range(asked)}] if asked else None
        return {"index": at, "text": text, "finish_reason": "stop", "logprobs": logprobs, "prompt_logprobs": listed}

    def part(self, at: int, word: tuple[bool, str]) -> dict[str, Any]:
        """Return one part of a stream."""
        thought, text = word
        if "chat" in self.path:
            return {"index": at, "delta": {"reasoning_content" if thought else "content": f"{text} "}}
        return {"index": at, "text": f"{text} "}


def send(
    to: BaseHTTPRequestHandler, status: int, found: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> None:
    """Send JSON."""
    data = json.dumps(found).encode()
    to.send_response(status)
    for name, value in (headers or {}).items():
        to.send_header(name, value)
    to.send_header("Content-Type", "application/json")
    to.send_header("Content-Length", str(len(data)))
    to.end_headers()
    to.wfile.write(data)


def raw(to: BaseHTTPRequestHandler, data: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Send bytes."""
    to.send_response(200)
    for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
        to.send_header(name, value)
    to.end_headers()
    to.wfile.write(data)


def drip(to: BaseHTTPRequestHandler, seconds: float) -> None:
    """Send the headers of an answer byte by byte, and never come to their end."""
    try:
        for number in range(100_000):
            to.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: "[number : number + 1] or b"a")
            to.wfile.flush()
            time.sleep(seconds)
    except OSError:
        return


def event(to: BaseHTTPRequestHandler, found: Mapping[str, Any]) -> None:
    """Send one event of a stream."""
    to.wfile.write(b"data: " + json.dumps(found).encode() + b"\n\n")
    to.wfile.flush()
