"""A model behind an OpenAI-compatible address as a target: nothing is known of it but what it answers and bills."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, NoReturn, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.conversation import Conversation, conversation_of
from torpor.core.errors import LimitReachedError, MeterError, UsageError
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.core.text import Characters
from torpor.core.units import Unit
from torpor.core.work import Generation, Outcome, PriceList, Work
from torpor.targets.endpoint.asker import Asked, Asker
from torpor.targets.endpoint.client import Client
from torpor.targets.endpoint.family import EndpointFamily
from torpor.targets.endpoint.options import EndpointOptions
from torpor.targets.endpoint.prompts import BYTES, LONGEST, PromptSpace
from torpor.targets.endpoint.question import TEMPLATE, Question
from torpor.targets.endpoint.remote import RemoteTarget
from torpor.targets.endpoint.reply import UNDER_WAY, Reply
from torpor.targets.endpoint.served import ServedText
from torpor.targets.endpoint.work import OUTPUT, PROMPT, UNITS, Counts, counts_of, either, most_of
from torpor.targets.interruptible import Interruptible


class EndpointTarget(Interruptible, RemoteTarget):
    """A model that is asked over HTTP, and by what it answers and bills is all that is known of it.

    A run asks each input as often as ``options.asked`` says, and counts the answer of middle length; searches ask each
    candidate once. What was answered before is remembered. :meth:`reseeded` asks anew, so that an attacked input is
    judged by other answers than those it was chosen by.

    Args:
        client: that asks; its spending holds the limits.
        options: how it is asked.
    """

    family = EndpointFamily()
    mechanism = "text generation behind an endpoint"
    units = UNITS
    eos = ()
    space: PromptSpace

    def __init__(self, client: Client, options: EndpointOptions) -> None:
        self.name, self.device = client.address.model, torch.device("cpu")
        self.options, self.cap = options, options.cap
        self.asker = Asker(client, options)
        self.space = PromptSpace(Characters(), LONGEST, talks=options.api == "chat")
        self.conversation: Conversation | None = None
        self._first = 0
        self._widest = [most_of(self._question(""))]

    def tokens_of(self, work: Work) -> tuple[int, int]:
        """Return the tokens that all samples together read, and that they write."""
        found = work.counts.sum(0).tolist()
        return found[PROMPT], found[OUTPUT]

    @property
    def in_conversation(self) -> Callable[[Conversation | None], Self] | None:
        """Gives the target of texts in a conversation; None where it takes none."""
        return self._within if self.space.talks else None

    def _within(self, conversation: Conversation | None) -> Self:
        other = copy.copy(self)
        other.conversation = conversation
        return other

    def _question(self, text: str) -> Question:
        conversation = conversation_of(text) or self.conversation
        return Question.of(self.asker.client.address, replace(self.options, cap=self.cap), str(text), conversation)

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Ask; a tuple of :class:`~torpor.targets.endpoint.served.ServedText`, and the work.

        Raises:
            LimitReachedError: if a limit of the run does not allow it.
            MeterError: if the server takes no requests, or answers none.
        """
        texts = self.space.check(tuple(inputs))
        parts = [[text] for text in texts] if self._searching else [texts]
        served = [each for part in parts for each in self._served(part)]
        return Outcome(tuple(served), Work(torch.tensor([each.counts for each in served], dtype=torch.int64)))

    def _served(self, texts: Sequence[str]) -> list[ServedText]:
        if self.stopwatch is not None:
            self.stopwatch.check()
        questions = [self._question(text) for text in texts]
        draws = range(self._first, self._first + self.options.asked)
        replies = iter(self._asked([(question, draw) for question in questions for draw in draws]))
        served = []
        for text, question in zip(texts, questions, strict=True):
            own = self._there([next(replies) for _ in draws])
            others = (self.asker.known((question, draw)) for draw in range(draws.stop) if draw not in draws)
            seen = [reply for reply in others if reply is not None and not reply.lost]
            served.append(ServedText.of(question, own, seen))
            if self.stopwatch is not None:
                self._saw(self.stopwatch, text, served[-1].counts)
        return served

    def _there(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Return the answers to one input that there are: what is lost is only missed where there is no other.

        Raises:
            MeterError: if a row needs an answer, and all are lost.
        """
        found = [reply for reply in replies if not reply.lost]
        if found or self._searching:
            return found or replies
        raise MeterError(
            f"expected an answer of {self.name} to each input that a row reports, got none to one: {UNDER_WAY}, so "
            "that it may have been billed already; pass --resend to send it again"
        )

    def _saw(self, watch: Stopwatch, text: str, counts: Counts) -> None:
        cost = self.prices.cost(Work(torch.tensor([counts], dtype=torch.int64)))
        watch.saw(text, max(1, counts[OUTPUT]), cost.item())

    def score(self, texts: Sequence[str]) -> Tensor:
        """Return how many tokens the server writes for each of many candidates, each asked once, int64 ``[N]``."""
        found, start = list[int](), 0
        while start < len(texts):
            chunk = texts[start : start + self._room()]
            questions = [self._question(text) for text in chunk]
            replies = self._asked([(question, self._first) for question in questions])
            for text, question, reply in zip(chunk, questions, replies, strict=True):
                counts = counts_of(question, reply)
                found.append(max(1, counts[OUTPUT]))
                if self.stopwatch is not None:
                    self._saw(self.stopwatch, text, counts)
            start += len(chunk)
        return torch.tensor(found, dtype=torch.int64)

    @property
    def _searching(self) -> bool:
        return self.stopwatch is not None and self.stopwatch.searches

    def _room(self) -> int:
        """Return how many candidates are asked at once, once the search has time and queries for one."""
        if self.stopwatch is None:
            return self.options.parallel
        self.stopwatch.check()
        return int(min(self.options.parallel, self.stopwatch.left))

    def _asked(self, asked: Sequence[Asked]) -> Sequence[Any]:
        """Return the answers; in a search, a limit of the run ends the search."""
        try:
            return self.asker.answers(asked)
        except LimitReachedError:
            if self._searching:
                raise OutOfTime from None
            raise

    def iterations(self, work: Work) -> Tensor:
        """Return how many decoder steps each sample ran: the tokens that were written; the one that ends none."""
        return work.counts[:, OUTPUT].clamp_min(1)

    def known_work(self, inputs: Sequence[str], steps: Sequence[int]) -> Work | None:
        """Return the work of inputs that were asked before."""
        questions = [self._question(text) for text in inputs]
        known = [self.asker.known((question, self._first)) for question in questions]
        rows = [
            counts_of(question, reply) for question, reply in zip(questions, known, strict=True) if reply is not None
        ]
        return Work(torch.tensor(rows, dtype=torch.int64)) if len(rows) == len(inputs) else None

    def max_work(self, inputs: Sequence[str]) -> Work:
        """Return the most that the caps of each request allow; where a server went beyond, what it did."""
        rows = []
        for question in map(self._question, inputs):
            allowed = most_of(question)
            rows.append(either(allowed, self.asker.most.get(question.prompt, allowed)))
        for row in rows:
            self._widest[0] = either(self._widest[0], row)
        return Work(torch.tensor(rows, dtype=torch.int64))

    def static_work(self) -> Work:
        """Return the most that any text allows, and any conversation so far."""
        longest = BYTES * LONGEST + TEMPLATE
        prompt = longest if self.options.context is None else min(longest, self.options.context)
        most = either((prompt, prompt, *most_of(self._question(""))[2:]), self._widest[0])
        return Work(torch.tensor([most], dtype=torch.int64))

    def least_work(self) -> Work:
        """Return one token that is read and one that is written."""
        return Work(torch.tensor([[1, 1, 1, 0, 1, 0]]))

    def signals(self, inputs: Sequence[str]) -> NoReturn:
        """Refuse: it is a black box.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"expected signals of {self.name}, got a black box; attack it by queries")

    @override
    def price(self, units: Sequence[Unit]) -> PriceList:
        own = self.spending.prices.of_units()
        return PriceList(self.spending.prices.name, tuple(own.get(unit.name, 0.0) for unit in units))

    def with_cap(self, cap: int) -> Self:
        """Return a target that asks for fewer or more tokens of the same server.

        Raises:
            UsageError: if the cap is below 1.
        """
        other = copy.copy(self)
        other.options, other.cap = replace(self.options, cap=cap), cap
        other._widest = [most_of(other._question(""))]
        return other

    @override
    def reseeded(self) -> Self:
        other = copy.copy(self)
        other._first = self._first + self.options.asked
        return other

    def details(self) -> dict[str, Any]:
        """Return the address, how it is asked, and the prices; see :meth:`Target.details`."""
        prices = self.spending.prices
        asked = {
            name: value for name, value in asdict(self.options).items() if name not in ("cap", "context", "prices")
        }
        return {
            "cap": self.cap,
            "context": self.options.context,
            "url": self.url,
            **asked,
            "repeats": self.options.asked,
            "prices_date": prices.date or None,
            "prices_source": prices.source or None,
        }

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the address, how it is asked and the prices count."""
        said = {**asdict(self.options), **asdict(self.spending.prices), "url": self.url, "cap": self.cap}
        for name in ("parallel", "per_minute", "answer_s", "prices", "tokenizer"):
            said.pop(name, None)
        return f"{self.name} {json.dumps(said, sort_keys=True)}"

    def utility(self, outputs: Sequence[Generation], references: object) -> Tensor:
        """Return NaN: there are no references."""
        return torch.full((len(outputs),), torch.nan, dtype=torch.float64)

    @property
    @override
    def utility_name(self) -> str:
        return "utility"
