"""Decode any number of samples by the deployed generation config, each as if it were alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Self

import torch

from torpor.core.errors import UsageError
from torpor.core.stopwatch import OutOfTime
from torpor.targets.decoder.generation.beams import BeamSearch
from torpor.targets.decoder.generation.calls import ForwardCalls
from torpor.targets.decoder.generation.deployment import (
    ROWWISE,
    check_mode,
    end_tokens,
    plain_config,
    with_new_tokens,
)
from torpor.targets.decoder.generation.fed import Decoded, Draws, Fed, Feeder
from torpor.targets.decoder.generation.generating import generate_once, prepared_by
from torpor.targets.decoder.generation.library import shares_positions
from torpor.targets.decoder.generation.loop import DecodingLoop, DecodingPlan, Processors
from torpor.targets.decoder.generation.neighbors import Recorder, compared
from torpor.targets.decoder.generation.room import CacheSize, cache_size, switch_length
from torpor.targets.decoder.generation.rowwise import RowWise
from torpor.targets.decoder.generation.strings import StopStrings
from torpor.targets.decoder.generation.wide import LEAST, wide_products
from torpor.targets.decoder.stops import Stop

TIES = {torch.float64: 1e-9, torch.float32: 2e-5}
"""Scores this close, as a share of the largest, may swap places in batched arithmetic.

In other types so many are that close that each row is computed in the shapes of a batch of one; see :class:`RowWise`.
"""
ROUNDING = 10
"""How many times a model's measured rounding its tie is at least."""
PADDED = 1e-3
"""Logits further apart than this, as a share of the largest, are not rounding: such a model depends on padding."""


class Decoder:
    """The deployed way of decoding.

    Args:
        model: one of transformers' models.
        config: its checked generation config, see
            :func:`~torpor.targets.decoder.generation.deployment.deployed_config`.
        example: a batch of one, to learn from what ``generate`` prepares for it.
        strings: that end an output, if there are any.

    Attributes:
        start: tokens that the decoder has before its first step.
        limit: tokens that it generates at most after these, for this example.
        together: whether samples may be decoded in one batch.
        pads: whether padding leaves no trace.
        rowwise: whether batches are computed row by row, as half precision needs.
        longest: tokens of a batch, padding and output included, up to which this holds.
        forward_calls: what every run is checked by; it learns from :meth:`force` until it is settled.
        stop: what else ends an output, if anything; beam search asks nothing.
        tick: called before every step, or before every search by beams; may raise.
    """

    stop: Stop | None = None
    tick: Callable[[], None] | None = None

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' own classes
        config: Any,  # noqa: ANN401
        example: Fed,
        strings: StopStrings | None = None,
    ) -> None:
        self.strings = strings
        self.model, self.config, self.forward_calls = model, config, ForwardCalls(model)
        self.eos = end_tokens(config)
        self.beams = config.num_beams or 1
        self.samples = bool(config.do_sample)
        ids, processors, prepared = prepared_by(self.model, example, config)
        check_mode(prepared)
        self.start, self.limit = ids.shape[1], int(prepared.max_length) - ids.shape[1]
        detects = getattr(config, "lang_to_id", None) is not None and getattr(config, "language", None) is None
        names = {type(processor).__name__ for processor in processors}
        self.together = self.beams == 1 and names <= ROWWISE and not detects and not shares_positions(model)
        self.pads, self.rowwise = True, model.dtype not in TIES
        self.tie, self.longest = TIES.get(model.dtype), switch_length(model.config)
        self.size = CacheSize()
        self.processed = bool(names)
        self._kept: dict[tuple[int, int], Processors] = {}

    def with_config(self, config: Any) -> Self:  # noqa: ANN401
        """Return a decoder of the same model by a config with another cap, or after the model moved."""
        other = copy.copy(self)
        other.config, other._kept = config, {}
        return other

    def settle(self, feed: Feeder, rows: int, steps: int) -> None:
        """Find out what a row keeps in memory, and how batches may be decoded such that its neighbors do not matter.

        In float32, a row that comes close to another token is decoded alone, and what is close is measured; in half
        precision, rows of a batch are computed in the shapes of a batch of one, if that gives each row's own logits to
        the last bit. Models that depend on padding, or whose attention torpor cannot take apart, decode one sample at a
        time.

        Args:
            feed: gives batches of some examples of different lengths.
            rows: how many there are.
            steps: decoder steps for each.
        """
        if self.beams > 1:
            return
        first = feed([0])
        source = max(1, first.width)
        self.size = cache_size(self._record(first, steps).cache, source)
        if not self.together:
            return
        self.rowwise = self.model.dtype not in TIES
        apart, alike = compared(lambda numbers: self._record(feed(numbers), steps), rows)
        self.together = self.pads = apart == 0 and alike if self.rowwise else apart <= PADDED
        if not self.rowwise:
            self.tie = max(TIES[self.model.dtype], ROUNDING * min(apart, PADDED))
        else:  # a window sees padding
            self.longest = min([self.longest, *(most for _, most in self.size.layers if most is not None)])

    def _record(self, fed: Fed, steps: int) -> Recorder:
        found = Recorder(len(fed), steps)
        with self._shaped(fed, least=0) as rowwise:
            found.plan = replace(found.plan, rowwise=rowwise)
            generate_once(self.model, fed, plain_config(self.config, steps), found)
        return found

    def _shaped(self, fed: Fed, least: int = LEAST) -> AbstractContextManager[RowWise | None]:
        """Compute row by row where that is needed, else products of at least so many multiply-adds as is fastest."""
        if len(fed) == 1:
            return nullcontext()
        if not self.rowwise:
            return wide_products(self.model, least)
        return RowWise.of(self.model, len(fed), fed.arguments.get("attention_mask"), fed.width)

    def with_stop(self, stop: Stop | None) -> Self:
        """Return a decoder of the same model that also ends outputs where ``stop`` says so."""
        other = copy.copy(self)
        other.stop = stop
        return other

    def with_tick(self, tick: Callable[[], None]) -> Self:
        """Return a decoder of the same model that calls ``tick`` before every step."""
        other = copy.copy(self)
        other.tick = tick
        return other

    def decode(
        self, feed: Feeder, chunks: Sequence[list[int]], caps: Sequence[int], draws: Draws | None = None
    ) -> list[Decoded]:
        """Decode all samples.

        A sample that comes so close to another token that batched arithmetic may decide, is decoded once more alone.

        Args:
            feed: gives the batch of some samples.
            chunks: which samples to decode at once; each one's number occurs exactly once.
            caps: tokens at most for each sample.
            draws: gives their generators, to sample with.

        Raises:
            UsageError: if the model returns no numbers.
        """
        found: list[Decoded | None] = [None] * len(caps)

        def run(fed: Fed, numbers: list[int]) -> tuple[list[Decoded], list[float]]:
            try:
                return self._run(fed, [caps[number] for number in numbers], draws(numbers) if draws else None)
            except OutOfTime as over:
                before = {number: one.steps for number, one in enumerate(found) if one is not None}
                over.ran = {numbers[row]: steps for row, steps in over.ran.items()} | before
                raise

        waiting = list(reversed(chunks)) if self.together else [[number] for number in reversed(range(len(caps)))]
        while waiting:
            chunk = waiting.pop()
            fed, most = feed(chunk), max(caps[number] for number in chunk)
            if len(chunk) > 1 and fed.whole + most > self.longest:
                waiting += [[number] for number in reversed(chunk)]
                continue
            decoded, gaps = run(fed, chunk)
            for place, number in enumerate(chunk):
                found[number] = decoded[place]
                if gaps[place] < 1:
                    found[number] = run(feed([number]), [number])[0][0]
        return [one for one in found if one is not None]

    def force(self, fed: Fed, steps: int, *, learn: bool = True) -> None:
        """Generate exactly ``steps`` tokens for a batch of one, to find out what that costs.

        Args:
            fed: the batch.
            steps: tokens to generate.
            learn: whether it is an input of a kind that is deployed, which :attr:`forward_calls` are to learn from.
        """
        config = plain_config(self.config, steps)
        with self.forward_calls.counted() as tally:
            if self.beams > 1:
                self._search(fed, config, None, plain=True)
            else:
                generate_once(self.model, fed, config, DecodingLoop(DecodingPlan([steps], (), 0.0, plain=True)))
        if learn:
            self.forward_calls.learn(fed.width, steps, tally)

    def _run(
        self, fed: Fed, caps: list[int], generators: list[torch.Generator] | None
    ) -> tuple[list[Decoded], list[float]]:
        config, width, tick = with_new_tokens(self.config, max(caps)), fed.width, self.tick or _nothing
        tick()
        if self.beams > 1:
            with self.forward_calls.counted() as tally:
                found = self._search(fed, config, generators)
            self.forward_calls.check(width, [found.steps], tally)
            if found.steps > caps[0]:
                raise UsageError(
                    f"expected up to {caps[0]} decoder steps, got {found.steps}; fix the model's beam search"
                )
            return [found], [torch.inf]
        plan = DecodingPlan(
            caps, self.eos, self.tie, generators, fed.padding, fed.hole, stop=self.stop, strings=self.strings, tick=tick
        )
        if self.processed and len(fed.padding) > 1:
            plan = replace(plan, by_padding=self._by_padding(fed, caps))
        with self.forward_calls.counted() as tally, self._shaped(fed) as rowwise:
            loop = DecodingLoop(replace(plan, rowwise=rowwise))
            generate_once(self.model, fed, config, loop)
        self.forward_calls.check(width, [len(ids) for ids in loop.tokens], tally)
        if loop.broken:
            raise UsageError(f"expected numbers from {type(self.model).__name__}, got NaN logits; check its weights")
        starts = [tuple(row) for row in loop.start.tolist()]
        decoded = [
            Decoded(start, tuple(ids), len(ids), row in loop.stopped)
            for row, (start, ids) in enumerate(zip(starts, loop.tokens, strict=True))
        ]
        return decoded, loop.gaps.tolist()

    def _by_padding(self, fed: Fed, caps: list[int]) -> dict[int, Processors]:
        """Return the processors of each prompt length, told by its padding, as ``generate`` prepares them for one."""
        width = fed.arguments["input_ids"].shape[1]
        found = {}
        for count, cap in zip(fed.padding, caps, strict=True):
            length = width - count
            if (length, cap) not in self._kept:
                ids = torch.zeros(1, length, dtype=torch.int64, device=self.model.device)
                arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                self._kept[length, cap] = prepared_by(self.model, Fed(arguments), with_new_tokens(self.config, cap))[1]
            found[count] = self._kept[length, cap]
        return found

    def _search(
        self,
        fed: Fed,
        config: Any,  # noqa: ANN401
        generators: list[torch.Generator] | None,
        *,
        plain: bool = False,
    ) -> Decoded:
        """Decode one sample; ``plain`` without any processor."""
        search = BeamSearch(plain=plain)
        seeds = None if generators is None else generators[0].initial_seed()
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=seeds is not None):
            if seeds is not None:
                torch.manual_seed(seeds)
            generate_once(self.model, fed, config, search)
        return search.found


def _nothing() -> None:
    """Let the decoding go on."""
