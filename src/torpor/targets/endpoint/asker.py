"""Who asks an endpoint: within the limits of the run, patiently, and nothing twice that was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from torpor.core.errors import MeterError
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.faults import unanswered
from torpor.targets.endpoint.journal import NAME, Journal
from torpor.targets.endpoint.options import EndpointOptions
from torpor.targets.endpoint.pace import RETRIES, Pace, passes, stop_unless_taken, wait_s
from torpor.targets.endpoint.question import Question
from torpor.targets.endpoint.reply import UNDER_WAY, Reply
from torpor.targets.endpoint.spending import booked
from torpor.targets.endpoint.work import Counts, counts_of, either

IN_A_ROW = 5
"""Requests without any answer, one after the other, after which a run ends."""
OVER = 4
"""An answer is given up that has so many times the parts that were asked for, and :data:`SPARE_PARTS`."""
SPARE_PARTS = 64
ANEW = 10**9
"""Number of the first answer that is only timed: no gateway may take its request for one that it has answered."""

Asked = tuple[Question, int]
"""A question, and the number of the answer to it that is wanted: a second one is asked for anew."""


class Asker:
    """Asks one server, remembers its answers, and keeps a journal of them once it has a folder.

    Args:
        client: that sends; its ``spending`` holds the limits.
        options: of the endpoint.

    Attributes:
        resends: whether what was under way when an earlier run was ended is sent again. It may have been answered, and
            billed, so that by default it is not: it counts as spent, and as a request that got no answer.
        most: of each prompt that was asked, how often each unit ran at most over all answers.
    """

    def __init__(self, client: Client, options: EndpointOptions) -> None:
        self.client, self.options, self.resends = client, options, False
        self.most = dict[str, Counts]()
        self._pace = Pace(options.per_minute)
        self._journal: Journal | None = None
        self._known = dict[str, Reply]()
        self._anew, self._unanswered, self._answered = False, 0, False
        self._lock, self._draws = threading.Lock(), count(ANEW)

    @property
    def url(self) -> str:
        """Of the server."""
        return self.client.address.url

    @contextmanager
    def kept_in(self, folder: Path) -> Iterator[None]:
        """Keep a journal in ``folder`` for the length of a ``with`` block, and begin with what is there.

        Raises:
            UsageError: if it cannot be written.
            DataError: if it holds something else.
        """
        journal = Journal(folder / NAME)
        earlier = journal.earlier
        self._known |= earlier.replies
        if not self.resends:
            self._known |= dict.fromkeys(earlier.under_way, Reply(wrong=UNDER_WAY))
        self._draws = count(ANEW + earlier.requests)
        self._answered |= any(not unanswered(reply) for reply in earlier.replies.values())
        self.client.spending.resumed(earlier.requests, earlier.tokens, earlier.cost)
        self._journal = journal
        try:
            yield
        finally:
            self._journal = None
            journal.close()

    @contextmanager
    def forgetful(self) -> Iterator[None]:
        """Ask anew whatever is asked in a ``with`` block, to time it."""
        self._anew = True
        try:
            yield
        finally:
            self._anew = False

    def answers(self, asked: Sequence[Asked]) -> list[Reply]:
        """Return the answers to some requests, in their order; what was answered before is not sent.

        Raises:
            LimitReachedError: if a limit of the run does not allow one.
            MeterError: if the server takes no requests, or answers none.
        """
        if self._anew:
            return [self._insist(question, question.key(self.url, next(self._draws))) for question, _ in asked]
        keys = [question.key(self.url, draw) for question, draw in asked]
        new = {key: question for key, (question, _) in zip(keys, asked, strict=True) if key not in self._known}
        if self.options.parallel == 1 or len(new) < 2:
            for key, question in new.items():
                self._remember(key, question)
        else:
            with ThreadPoolExecutor(self.options.parallel) as pool:
                list(pool.map(self._remember, new, new.values()))
        found = [self._known[key] for key in keys]
        for (question, _), reply in zip(asked, found, strict=True):
            counts = counts_of(question, reply)
            self.most[question.prompt] = either(self.most.get(question.prompt, counts), counts)
        return found

    def known(self, asked: Asked) -> Reply | None:
        """Return an answer that was given before; None if there is none."""
        question, draw = asked
        return self._known.get(question.key(self.url, draw))

    def _remember(self, key: str, question: Question) -> None:
        self._known[key] = self._insist(question, key)

    def _insist(self, question: Question, key: str) -> Reply:
        """Send a request until it is answered, refused for good, or has been sent often enough."""
        reply, attempt = self._once(question, key), 0
        if self.client.streams and reply.refuses_streams:
            self.client.streams = False
            reply = self._once(question, key, after=reply)
        while passes(reply) and attempt < RETRIES:
            time.sleep(wait_s(reply, attempt))
            reply, attempt = self._once(question, key, after=reply), attempt + 1
        prices = self.client.spending.prices
        if self._journal is not None and (self._anew or _is_stopped(reply)):
            self._journal.again(key, booked(question.prompt, reply, prices))
        stop_unless_taken(reply, self.url, self.client.address.model)
        self._stop_unless_answering(reply)
        if self._journal is not None and not self._anew:
            self._journal.answered(key, booked(question.prompt, reply, prices), reply)
        return reply

    def _once(self, question: Question, key: str, after: Reply | None = None) -> Reply:
        """Send a request once, as the limits allow; ``after`` an earlier attempt that may be booked in the journal."""
        spending, journal = self.client.spending, self._journal
        if journal is not None and after is not None:
            journal.again(key, booked(question.prompt, after, spending.prices))
        most = self.price_of(question)
        self._pace.wait()
        return self.client.ask(
            question.path,
            question.body,
            question.prompt,
            stream=True,
            abort_after=OVER * question.cap + SPARE_PARTS,
            most=most,
            headers={"Idempotency-Key": key},
            sent=lambda: None if journal is None else journal.sent(key, most),
        )

    def price_of(self, question: Question) -> float:
        """Return the most that a request costs if the server keeps to what it is asked for."""
        prices = self.client.spending.prices
        return prices.cost(question.most_prompt, question.cap, reasoning=question.cap, calls=question.most_calls)

    def _stop_unless_answering(self, reply: Reply) -> None:
        """End a run whose server answers nothing: not its first request, or none of the last few.

        Raises:
            MeterError: if so.
        """
        with self._lock:
            failed = unanswered(reply)
            self._unanswered = self._unanswered + 1 if failed else 0
            first, self._answered = failed and not self._answered, self._answered or not failed
        if first or self._unanswered >= IN_A_ROW:
            many = "the first request" if first else f"the last {self._unanswered} requests"
            why = reply.wrong or f"status {reply.status}: {reply.error or 'no text'}"
            raise MeterError(
                f"expected an answer of {self.client.address.model} from {self.url}, got none to {many} ({why}); see "
                "what the server says of it"
            )


def _is_stopped(reply: Reply) -> bool:
    """Tell whether a reply ends the run, so that its request is sent again by the next one."""
    try:
        stop_unless_taken(reply, "", "")
    except MeterError:
        return True
    return False
