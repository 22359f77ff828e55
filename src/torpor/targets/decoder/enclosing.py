"""Targets around a language model: the same text goes in and comes out, decoded by something of their own."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.stopwatch import OutOfTime
from torpor.core.work import Generation, Outcome, Work
from torpor.data.sets import DataSet
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.generation.fed import Decoded
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.interruptible import Interruptible


class Output(Protocol):
    """What was generated for one prompt."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens, with the end token if there is one."""


OutputT = TypeVar("OutputT", bound=Output)


class EnclosingTarget(Interruptible, TextTarget, Generic[OutputT]):
    """A target that decodes a language model in its own way, row by row.

    Tokenizer, space, data and utility are those of the model, and so is the most that positions admit. Searches over
    texts make the FLOPs as many as they can.

    Args:
        large: the model whose output is deployed.
        name: shown in reports.
    """

    decoder_only = True

    def __init__(self, large: PromptTarget, name: str) -> None:
        self.name, self.large = name, large
        self.device, self.space, self.codec = large.device, large.space, large.codec
        self.cap, self.eos = large.cap, large.eos

    @abstractmethod
    def _decode(self, row: Sequence[int], cap: int) -> OutputT:
        """Return what is generated for a prompt, and call :meth:`_tick` at every step."""

    @abstractmethod
    def _counts(self, length: int, output: OutputT) -> list[int]:
        """Return the count of each unit for a prompt of ``length`` tokens."""

    @abstractmethod
    def _most(self, length: int) -> list[int]:
        """Return the most of each unit for a prompt of ``length`` tokens."""

    def _tick(self) -> None:
        """Raise :class:`~torpor.core.stopwatch.OutOfTime` if a search is over."""
        if self.stopwatch is not None:
            self.stopwatch.check()

    def run(self, inputs: Samples) -> Outcome:
        """Generate; a tuple of :class:`~torpor.core.work.Generation`, and the work."""
        rows, found, watch = self.large.reader.rows(self.space.check(inputs)), list[OutputT](), self.stopwatch
        for text, row in zip(inputs, rows, strict=True):
            try:
                one = self._decode(row, self.cap_of(len(row)))
            except OutOfTime:
                if watch is not None:
                    watch.missed(len(inputs) - len(found))
                raise
            found.append(one)
            if watch is not None:
                watch.saw(text, int(self.goal(self._work([row], [one]))))
        outputs = tuple(Generation(one.ids, self.codec.decode(one.ids), one.ids[-1] not in self.eos) for one in found)
        return Outcome(outputs, self._work(rows, found))

    def _work(self, rows: Sequence[Sequence[int]], outputs: Sequence[OutputT]) -> Work:
        pairs = zip(rows, outputs, strict=True)
        return Work(torch.tensor([self._counts(len(row), one) for row, one in pairs], dtype=torch.int64))

    def _decoded_by_gradients(self, rows: Sequence[Sequence[int]]) -> tuple[list[OutputT], list[Decoded]]:
        """Decode for :meth:`signals`, and tell the stopwatch of as many backward passes."""
        found = [self._decode(row, self.cap_of(len(row))) for row in rows]
        if self.stopwatch is not None:
            self.stopwatch.backwards += len(rows)
        decoded = [Decoded(tuple(row), one.ids, len(one.ids)) for row, one in zip(rows, found, strict=True)]
        return found, decoded

    @override
    def goal(self, work: Work) -> Tensor:
        return self.prices.cost(work).round().to(torch.int64)

    @property
    @override
    def most_goal(self) -> int:
        return int(self.goal(self.static_work()))

    @override
    def score(self, texts: Sequence[str]) -> Tensor:
        return self.goal(self.work_of(texts))

    def work_of(self, candidates: Sequence[str]) -> Work:
        """See :class:`~torpor.targets.capabilities.Foreseen`; a text that occurs twice runs once."""
        different = {text: place for place, text in enumerate(dict.fromkeys(candidates))}
        if not different:
            return Work(torch.zeros(0, len(self.units), dtype=torch.int64))
        return Work(self._foreseen(tuple(different)).counts[[different[text] for text in candidates]])

    def _foreseen(self, texts: tuple[str, ...]) -> Work:
        """Return the work of one or more different texts."""
        return self.run(texts).work

    def cap_of(self, length: int) -> int:
        """Return how many tokens are generated at most for a prompt of ``length`` tokens."""
        return min(self.cap, self.large.cap_of(length))

    @override
    def max_work(self, inputs: Samples) -> Work:
        rows = self.large.reader.rows(inputs)
        return Work(torch.tensor([self._most(len(row)) for row in rows], dtype=torch.int64))

    @override
    def static_work(self) -> Work:
        lengths = range(self.large._shortest(), self.large._longest() + 1)
        every = torch.tensor([self._most(length) for length in lengths])
        return Work(every.amax(0, keepdim=True))

    def _probed(self, inputs: Samples) -> Iterator[tuple[list[int], int]]:
        """Return short and long prompts made of the given one, each with several numbers of tokens to generate."""
        row = self.large.reader.rows(inputs)[0]
        longest = min(max(8, len(row)), self.space.max_tokens)
        for length in sorted({max(1, longest // 4), longest}):
            cap = self.cap_of(length)
            for steps in sorted({1, max(1, cap // 4), cap}):
                yield (list(row) * length)[:length], steps

    def with_cap(self, cap: int) -> Self:
        """See :meth:`StepTarget.with_cap`."""
        other = copy.copy(self)
        other.large = self.large.with_cap(cap)
        other.cap = other.large.cap
        return other

    @override
    def embedding_matrix(self) -> Tensor:
        return self.large.embedding_matrix()

    @override
    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        """See :meth:`TextTarget.soft_continuation`; as the model alone scores them."""
        return self.large.soft_continuation(embeddings, continuation)

    @override
    def soft_logits(self, embeddings: Tensor) -> Tensor:
        return self.large.soft_logits(embeddings)

    @override
    def utility(self, outputs: Sequence[Generation], references: Samples) -> Tensor:
        return self.large.utility(outputs, references)

    @property
    @override
    def utility_name(self) -> str:
        return self.large.utility_name

    @override
    def to(self, device: torch.device) -> Self:
        self.large.to(device)
        self.device = self.large.device
        return self

    @override
    def data(self, folder: Path | None) -> DataSet:
        return self.large.data(folder)

    @override
    def details(self) -> dict[str, Any]:
        return {**self.large.details(), **super().details()}
