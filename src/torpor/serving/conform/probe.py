"""What every check of the suite shares: the client, what is said to be configured, and a long answer without a cap."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torpor.core.errors import MeterError, UsageError
from torpor.serving.conform.finding import Finding, Standing
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.reply import Reply

LONG_PROMPT = "Count upwards from 1, the numbers in words or digits, and go on without a pause for as long as you can."
SHORT_PROMPT = "Say yes."
CAP = 8
"""Tokens that a capped request asks for at most."""
NO_STREAMS = "the server refuses streams that end with what they bill (stream_options)"
HEADERS_S, HEADERS_IDLE_S = 30.0, 10.0
"""Seconds until the headers of an answer to :data:`SHORT_PROMPT` are there, and until anything of them is."""
ENOUGH = 64
"""Parts of a stream after which an answer that should have ended is given up: it has shown what it does."""


@dataclass(frozen=True)
class Configured:
    """What the operator says is configured; None for what is not.

    Attributes:
        context: tokens of a prompt at most.
        timeout_s: after which the server ends an answer.
        tokens_per_minute: of one key.
        window_s: after which that quota is whole again.
        parallel: requests of one key that are answered at once.
        dollars: that one key may spend.
    """

    context: int | None = None
    timeout_s: float | None = None
    tokens_per_minute: int | None = None
    window_s: float = 60.0
    parallel: int | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        given = (self.context, self.timeout_s, self.tokens_per_minute, self.parallel, self.dollars)
        if any(each is not None and not each > 0 for each in given):
            raise UsageError(f"expected limits greater than 0, got {', '.join(str(each) for each in given)}")


@dataclass(frozen=True)
class Probe:
    """What a check asks with.

    Attributes:
        client: asks.
        configured: what the operator says.
        first: an answer to :data:`SHORT_PROMPT`, for which little time was given.
        natural: an answer to :data:`LONG_PROMPT` without any cap, given up after :data:`ENOUGH` parts.
    """

    client: Client
    configured: Configured
    first: Reply
    natural: Reply

    @staticmethod
    def begin(client: Client, configured: Configured) -> Probe:
        """Ask for a short answer, and for a long one unless the first never began.

        Raises:
            MeterError: if the server does not answer at all.
        """
        limits = client.limits
        soon = replace(limits, idle_s=min(HEADERS_IDLE_S, limits.idle_s), total_s=min(HEADERS_S, limits.total_s))
        with Client(client.address, client.spending, soon) as brief:
            first = brief.chat(SHORT_PROMPT, stream=True, max_tokens=1, abort_after=2)
            if first.refuses_streams:
                client.streams = brief.streams = False
                first = brief.chat(SHORT_PROMPT, max_tokens=1)
        probe = Probe(client, configured, first, first)
        if probe.drips or probe.sends_elsewhere:
            return probe
        reply = client.chat(LONG_PROMPT, stream=True, abort_after=ENOUGH)
        if reply.status is None and not reply.choices:
            raise MeterError(
                f"expected an answer from {client.address.url}, got {reply.wrong or 'none'}; see whether it runs"
            )
        if reply.status != 200:
            raise MeterError(
                f"expected an answer of {client.address.model} from {client.address.url}, got status {reply.status}: "
                f"{reply.error or 'no reason'}; see the model's name and the key"
            )
        return Probe(client, configured, first, reply)

    @property
    def drips(self) -> bool:
        """Whether the server sends the headers of answers bit by bit, and never comes to their end."""
        return self.first.late and self.first.status is None

    @property
    def sends_elsewhere(self) -> bool:
        """Whether the server answers with a redirect: it is not followed, since nothing else may be asked."""
        return self.first.status in range(300, 400)

    def capped(self, limit: str, reply: Reply, most: int = CAP) -> Finding:
        """Judge an answer to :data:`LONG_PROMPT` that was to have at most so many tokens."""
        if (unread := self.unread(limit, reply)) is not None:
            return unread
        written = reply.least_tokens
        if written > most:
            told = f"{written} tokens at least, {most} were asked for"
            return Finding(limit, Standing.OVERSHOOTS, told, written / most)
        if self.natural.least_tokens <= most:
            return Finding(limit, Standing.UNOBSERVABLE, f"the answer has {written} tokens with and without it")
        return Finding(limit, Standing.HOLDS, f"{written} tokens, {most} were asked for", written / most)

    def unread(self, limit: str, reply: Reply) -> Finding | None:
        """Return what to say of a reply that is no answer; None if it is one."""
        if reply.status == 429:
            return Finding(limit, Standing.UNOBSERVABLE, f"refused for now: {reply.error or 'too many requests'}")
        if reply.refused:
            return Finding(limit, Standing.NOT_OFFERED, f"refused: {reply.error or f'status {reply.status}'}")
        if reply.wrong.endswith("Timeout"):
            return Finding(limit, Standing.UNOBSERVABLE, f"no answer within {self.client.limits.idle_s:g} s")
        if reply.wrong and reply.least_tokens <= CAP:
            return Finding(limit, Standing.FAILS, f"got {reply.wrong}")
        return None
