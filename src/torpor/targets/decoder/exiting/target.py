"""A language model whose tokens leave after as many layers as it takes to be sure of them, as a target."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.core.units import STEP, Unit
from torpor.core.work import Generation, Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import counting
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.exiting.depths import LayerStack, Written, causal, follow, write
from torpor.targets.decoder.exiting.family import ExitStepFamily, ExitStepSignals
from torpor.targets.decoder.generation.fed import Decoded
from torpor.targets.decoder.generation.forcing import padded_ids, step_mask
from torpor.targets.decoder.generation.library import empty_cache
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.weights import digest

NAMES = ("prompt_token", STEP, "key_value", "layer", "layer_key", "exit_check", "exit")


class ExitingTarget(TextTarget):
    """A Llama-like model with an exit after each layer but the last: CALM's classifier exits.

    Each generated token but the first leaves at the first exit whose score says that the last layer would name the same
    token with probability ``sure`` or more. Keys and values of the layers above come from the state that it left with,
    so that later tokens can look at it. Rows are decoded one by one: their tokens leave at different layers.

    Units: ``key_value``, the projections of every token in every layer, which no exit saves; ``layer``, the rest of a
    layer; ``layer_key``, a key that a layer's token looks at; ``exit_check`` and ``exit``, the score and the way to the
    head. Searches over texts make the FLOPs as many as they can.

    Args:
        large: the model, as it decodes without exits; greedy, nothing done to its scores.
        exits: one after each layer but the last.
        sure: probability from which on a token leaves.
        name: shown in reports.

    Raises:
        UsageError: if the model is not built like Llama, or decoded otherwise than greedily.
    """

    family = ExitStepFamily()
    mechanism = "early exit of tokens"
    decoder_only = True
    stopwatch: Stopwatch | None = None

    def __init__(self, large: PromptTarget, exits: Any, *, sure: float, name: str) -> None:  # noqa: ANN401
        if not 0 < sure < 1:
            raise UsageError(f"expected a probability between 0 and 1 to leave from, got {sure}")
        if large.model.config.model_type != "llama":
            raise UsageError(f"expected a Llama-like model for exits, got {large.model.config.model_type}")
        if large.decoder.beams > 1 or large.decoder.samples or large.decoder.processed or large.strings is not None:
            raise UsageError(f"expected greedy decoding of {large.name} for exits, got other settings")
        self.name, self.large, self.sure, self.exits = name, large, sure, exits.eval().requires_grad_(False)
        self.stack = LayerStack(large.model, self.exits)
        self.layers = len(self.stack.layers)
        if len(exits) != self.layers - 1:
            raise UsageError(f"expected {self.layers - 1} exits for {self.layers} layers, got {len(exits)}")
        self.device, self.space, self.codec = large.device, large.space, large.codec
        self.cap, self.eos = large.cap, large.eos
        self.units = self._priced()

    @torch.no_grad()
    def _priced(self) -> tuple[Unit, ...]:
        """Return the units with the FLOPs that the counter finds of each piece."""
        stack, found = self.stack, dict[str, int]()
        two = stack.embed(torch.tensor([[self.codec.ordinary] * 2], device=self.device))
        turns = stack.turns(two, torch.arange(2, device=self.device)[None])
        one, first = two[:, :1], (turns[0][:, :1], turns[1][:, :1])
        calls: dict[str, Callable[[], object]] = {
            "turn": lambda: stack.turns(one, torch.zeros(1, 1, dtype=torch.int64, device=self.device)),
            "one": lambda: stack.layer(0, one, first, None, None),
            "two": lambda: stack.layer(0, two, turns, causal(2, two), None),
            "copy": lambda: stack.copy(0, one, first, empty_cache(stack.model)),
            "check": lambda: stack.exits.sureness(0, one),
            "last": lambda: stack.head(one, self.layers),
            "left": lambda: stack.head(one, 1),
        }
        for name, call in calls.items():
            with counting() as counter:
                call()
            found[name] = counter.flops
        key = (found["two"] - 2 * found["one"]) // 2  # 4 keys instead of 1 for each of two tokens
        prices = (
            found["turn"],
            found["last"] + found["turn"],
            found["copy"],
            found["one"] - found["copy"] - key,
            key,
            found["check"],
            found["left"] - found["last"],
        )
        return tuple(Unit(name, price) for name, price in zip(NAMES, prices, strict=True))

    def _counts(self, length: int, depths: Sequence[int]) -> list[int]:
        """Return the count of each unit: the prompt goes through all layers and makes the first token."""
        later = depths[1:]
        keys = length * length * self.layers + sum(depth * (length + at) for at, depth in enumerate(later, 1))
        tokens = length + len(later)
        checks, early = sum(min(depth, self.layers - 1) for depth in later), sum(depth < self.layers for depth in later)
        layers = length * self.layers + sum(later)
        return [length - 1, len(depths), tokens * self.layers, layers, keys, checks, early]

    @property
    def _threshold(self) -> float:
        return float(torch.logit(torch.tensor(self.sure, dtype=torch.float64)))

    def _write(self, row: Sequence[int], cap: int, forced: int | None = None) -> Written:
        tick = (lambda: None) if self.stopwatch is None else self.stopwatch.check
        return write(self.stack, row, cap, self.eos, self._threshold, tick=tick, forced=forced)

    def run(self, inputs: Samples) -> Outcome:
        """Generate; a tuple of :class:`~torpor.core.work.Generation`, and the work."""
        rows, written, watch = self.large.reader.rows(self.space.check(inputs)), list[Written](), self.stopwatch
        for text, row in zip(inputs, rows, strict=True):
            try:
                one = self._write(row, self.cap_of(len(row)))
            except OutOfTime:
                if watch is not None:
                    watch.missed(len(inputs) - len(written))
                raise
            written.append(one)
            if watch is not None:
                watch.saw(text, int(self.goal(self._work([row], [one]))))
        outputs = (Generation(one.ids, self.codec.decode(one.ids), one.ids[-1] not in self.eos) for one in written)
        return Outcome(tuple(outputs), self._work(rows, written))

    def _work(self, rows: Sequence[Sequence[int]], written: Sequence[Written]) -> Work:
        pairs = zip(rows, written, strict=True)
        return Work(torch.tensor([self._counts(len(row), one.depths) for row, one in pairs], dtype=torch.int64))

    def layers_of(self, work: Work) -> Tensor:
        """Return the layers that ran for generated tokens but the first, int64 ``[B]``."""
        prompt = work.counts[:, NAMES.index("prompt_token")] + 1
        return work.counts[:, NAMES.index("layer")] - prompt * self.layers

    @override
    def goal(self, work: Work) -> Tensor:
        return self.prices.cost(work).round().to(torch.int64)

    @property
    @override
    def most_goal(self) -> int:
        return int(self.goal(self.static_work()))

    @override
    def score(self, texts: Sequence[str]) -> Tensor:
        different = tuple(dict.fromkeys(texts))
        if not different:
            return torch.zeros(0, dtype=torch.int64)
        found = dict(zip(different, self.goal(self.run(different).work).tolist(), strict=True))
        return torch.tensor([found[text] for text in texts], dtype=torch.int64)

    def cap_of(self, length: int) -> int:
        """Return how many tokens are generated at most for a prompt of ``length`` tokens."""
        return min(self.cap, self.large.cap_of(length))

    def _most(self, length: int) -> list[int]:
        """Return the most of each unit: all layers, all checks, and all exits, although no token has both."""
        cap = self.cap_of(length)
        found = self._counts(length, [self.layers] * cap)
        found[NAMES.index("exit")] = cap - 1
        return found

    @override
    def max_work(self, inputs: Samples) -> Work:
        rows = self.large.reader.rows(inputs)
        return Work(torch.tensor([self._most(len(row)) for row in rows], dtype=torch.int64))

    @override
    def static_work(self) -> Work:
        lengths = range(self.large._shortest(), self.large._longest() + 1)
        every = torch.tensor([self._most(length) for length in lengths])
        return Work(every.amax(0, keepdim=True))

    @override
    def least_work(self) -> Work:
        return Work(torch.tensor([self._counts(self.large._shortest(), [self.layers])]))

    def with_cap(self, cap: int) -> Self:
        """See :meth:`StepTarget.with_cap`."""
        other = copy.copy(self)
        other.large = self.large.with_cap(cap)
        other.cap = other.large.cap
        return other

    def until(self, stopwatch: Stopwatch) -> Self:
        """Return the target for searches that may be ended at any token."""
        other = copy.copy(self)
        other.stopwatch = stopwatch
        return other

    @override
    def embedding_matrix(self) -> Tensor:
        return self.large.embedding_matrix()

    @override
    def signals(self, inputs: Sequence[str]) -> ExitStepSignals:
        rows = self.large.reader.rows(inputs)
        written = [self._write(row, self.cap_of(len(row))) for row in rows]
        if self.stopwatch is not None:
            self.stopwatch.backwards += len(inputs)
        ids, mask = (part.to(self.device) for part in self.large.reader.pad(rows))
        embeddings = self.stack.embed(ids).detach().requires_grad_()
        parts = [follow(self.stack, embeddings[at : at + 1, mask[at].bool()], one) for at, one in enumerate(written)]
        logits, hidden, odds = (pad_sequence(list(each), batch_first=True) for each in zip(*parts, strict=True))
        depths = pad_sequence([torch.tensor(one.depths) for one in written], batch_first=True)
        steps = torch.arange(depths.shape[1])
        checked = (torch.arange(self.layers - 1) < depths.unsqueeze(-1)) & (steps > 0)[None, :, None]
        decoded = [Decoded(tuple(row), one.ids, len(one.ids)) for row, one in zip(rows, written, strict=True)]
        return ExitStepSignals(
            logits=logits,
            ids=padded_ids(decoded, self.device),
            mask=step_mask(decoded, self.device),
            eos=self.eos,
            work=self._work(rows, written),
            hidden=hidden,
            embeddings=embeddings,
            input_ids=ids,
            input_mask=self.large.reader.own(inputs).to(self.device),
            margins=odds - self._threshold,
            checked=checked.to(self.device),
        )

    @override
    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        """See :meth:`TextTarget.soft_continuation`; as if no token left early."""
        return self.large.soft_continuation(embeddings, continuation)

    @override
    def soft_logits(self, embeddings: Tensor) -> Tensor:
        return self.large.soft_logits(embeddings)

    @override
    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Any]]:
        row = self.large.reader.rows(inputs)[0]
        longest = min(max(8, len(row)), self.space.max_tokens)
        for length in sorted({max(1, longest // 4), longest}):
            prompt = (list(row) * length)[:length]
            cap = self.cap_of(length)
            for steps in sorted({1, max(1, cap // 4), cap}):
                for depth in range(1, self.layers + 1):
                    counts = self._counts(length, [self.layers, *[depth] * (steps - 1)])
                    yield (
                        Work(torch.tensor([counts])),
                        lambda prompt=prompt, steps=steps, depth=depth: self._write(prompt, steps, depth),
                    )

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
        self.exits.to(device)
        self.device = self.large.device
        return self

    @override
    def data(self, folder: Path | None) -> DataSet:
        return self.large.data(folder)

    @override
    def details(self) -> dict[str, Any]:
        return {**self.large.details(), **super().details(), "sure": self.sure}

    @override
    def fingerprint(self) -> str:
        return digest(f"{self.name} {self.units} {self.sure} {self.large.fingerprint()}", [self.exits])
