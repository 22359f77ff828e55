"""Greedy search and sampling as transformers does them, except that rows that are done leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.stopwatch import OutOfTime
from torpor.targets.decoder.generation import library
from torpor.targets.decoder.generation.picking import pick
from torpor.targets.decoder.generation.rowwise import RowWise
from torpor.targets.decoder.generation.strings import StopStrings
from torpor.targets.decoder.stops import Stop, Watch

Processors = Callable[[Tensor, Tensor], Tensor]
"""Maps ids ``[B, T]`` and logits ``[B, V]`` to processed scores, as transformers' list of logits processors does."""
SCALE = 50
"""How many times the tie of logits a stop may be off: their usual size."""


@dataclass(frozen=True, eq=False)
class DecodingPlan:
    """What a batch is to be decoded with, beside what ``generate`` prepares.

    Attributes:
        caps: tokens at most for each row.
        eos: ids that end a row.
        tie: see :func:`~torpor.targets.decoder.generation.picking.pick`; rows that come closer leave the batch at
            once, to be decoded alone.
        generators: one per row to sample with; None for greedy search.
        padding: tokens of each row's prompt that are padding.
        hole: where that padding begins.
        by_padding: the processors for each number of padding tokens; None to use those that ``generate`` prepares.
        plain: ignore all processors, to make a known number of steps.
        stop: what else ends a row, if anything.
        rowwise: what computes each row in the shapes of a batch of one, if anything does.
        strings: what else ends an output as deployed, if anything.
        tick: called before every step; may raise.
    """

    caps: Sequence[int]
    eos: Sequence[int]
    tie: float | None
    generators: Sequence[torch.Generator] | None = None
    padding: Sequence[int] = ()
    hole: int = 0
    by_padding: Mapping[int, Processors] | None = None
    plain: bool = False
    stop: Stop | None = None
    rowwise: RowWise | None = None
    strings: StopStrings | None = None
    tick: Callable[[], None] = lambda: None


class DecodingLoop:
    """A decoding method for ``generate(custom_generate=...)`` that keeps what it did.

    Attributes:
        start: what the decoder had before the first step, ``[B, P]``.
        tokens: what each row generated.
        gaps: how close each row's closest call was, ``[B]``; infinite for a batch of one, which has none to differ
            from.
        broken: whether some logit was NaN.
    """

    def __init__(self, plan: DecodingPlan) -> None:
        self.plan = plan
        self.start = self.gaps = torch.empty(0)
        self.tokens: list[list[int]] = []
        self.broken, self.stopped = False, set[int]()

    def __call__(
        self,
        model: Any,  # noqa: ANN401 - any of transformers' models
        input_ids: Tensor,
        logits_processor: Processors,
        stopping_criteria: object,
        generation_config: Any,  # noqa: ANN401
        **model_kwargs: Any,  # noqa: ANN401
    ) -> Tensor:
        """Decode, and return the ids ``[B, P + T]``, padded on the right."""
        self.start, device = input_ids, input_ids.device
        batch = len(input_ids)
        caps = torch.tensor(self.plan.caps, device=device)
        eos = torch.tensor(self.plan.eos, device=device, dtype=input_ids.dtype)
        rows, watch = torch.arange(batch, device=device), Watch(self.plan.stop, self.plan.eos)
        made: list[tuple[Tensor, ...]] = []  # put in place at the end: at every step it would cost more
        for step in range(max(self.plan.caps)):
            self._tick(rows, step)
            logits, model_kwargs = _forward(model, input_ids, model_kwargs, first=step == 0)
            tokens, gaps = self._pick(logits, input_ids, rows, logits_processor)
            ends = torch.isin(tokens, eos) | (caps <= step + 1)
            if self.plan.stop is not None:
                past = watch(tokens, logits)
                ends |= ~(past < 0)
                if batch > 1 and self.plan.tie is not None:
                    gaps = torch.minimum(gaps, past.abs().to(gaps) / (SCALE * self.plan.tie))
            made.append((rows, tokens, gaps, logits.amax(-1)))
            input_ids = torch.cat([input_ids, tokens.unsqueeze(1)], 1)
            if self.plan.strings is not None:
                ends |= self._stopped(self.plan.strings, input_ids, rows)
            ends |= gaps < 1
            if ends.any():
                kept = (~ends).nonzero().flatten()
                if len(kept) == 0:
                    break
                watch.keep(kept)
                if self.plan.rowwise is not None:
                    self.plan.rowwise.keep(kept.tolist())
                rows, caps, input_ids = rows[kept], caps[kept], input_ids[kept]
                model_kwargs = _keep(model_kwargs, kept, len(ends))
        places = torch.cat([torch.full_like(ran, step) for step, (ran, *_) in enumerate(made)])
        rows, tokens, gaps, most = (torch.cat(parts) for parts in zip(*made, strict=True))
        self.broken = bool(most.isnan().any())
        self.gaps = gaps.new_full((batch,), torch.inf).scatter_reduce(0, rows, gaps, "amin")
        pads = (generation_config.pad_token_id, *self.plan.eos)
        ids = self.start.new_full((batch, len(made)), next((int(one) for one in pads if one is not None), 0))
        ids[rows, places] = tokens
        counts = rows.bincount(minlength=batch)
        self.tokens = [row[:length] for row, length in zip(ids.tolist(), counts.tolist(), strict=True)]
        return torch.cat([self.start, ids], 1)

    def _stopped(self, strings: StopStrings, input_ids: Tensor, rows: Tensor) -> Tensor:
        """Tell which rows have just written a stop string, and remember them."""
        plan = self.plan
        padding = [plan.padding[row] for row in rows.tolist()] if plan.padding else ()
        found = strings(input_ids, padding, plan.hole)
        self.stopped.update(rows[found].tolist())
        return found

    def _tick(self, rows: Tensor, step: int) -> None:
        """Ask whether to go on; rows that are still there have outlasted all others."""
        try:
            self.plan.tick()
        except OutOfTime as over:
            over.ran = dict.fromkeys(rows.tolist(), step)
            raise

    def _pick(self, logits: Tensor, input_ids: Tensor, rows: Tensor, given: Processors) -> tuple[Tensor, Tensor]:
        """Choose each row's next token."""

        def process(logits: Tensor) -> Tensor:
            return self._process(logits, input_ids, rows, given)

        plan = self.plan
        generators = None if plan.generators is None else [plan.generators[row] for row in rows.tolist()]
        return pick(logits, process, generators, plan.tie if len(self.start) > 1 else None)

    def _process(self, logits: Tensor, input_ids: Tensor, rows: Tensor, given: Processors) -> Tensor:
        """Process logits as for each row alone: no padding before it, and lengths counted without it."""
        plan = self.plan
        if plan.plain:
            return logits
        if plan.by_padding is None:
            return given(input_ids, logits)
        scores = torch.empty_like(logits)
        padding = torch.tensor(plan.padding, device=rows.device)[rows]
        for count in padding.unique().tolist():
            here = padding == count
            ids = torch.cat([input_ids[here, : plan.hole], input_ids[here, plan.hole + count :]], 1)
            scores[here] = plan.by_padding[count](ids, logits[here])
        return scores


def _forward(
    model: Any,  # noqa: ANN401
    input_ids: Tensor,
    model_kwargs: dict[str, Any],
    *,
    first: bool,
) -> tuple[Tensor, dict[str, Any]]:
    """Feed what the cache does not hold yet; return the last token's logits ``[B, V]`` and the next arguments."""
    known = library.tokens_in(library.cache_in(model_kwargs))
    if known >= input_ids.shape[1]:
        raise UsageError(
            f"expected one token per row and step in the cache of {type(model).__name__}, got {known} for "
            f"{input_ids.shape[1]} tokens; deploy it without what feeds others"
        )
    inputs = library.next_inputs(model, input_ids, model_kwargs, count=input_ids.shape[1] - known, first=first)
    outputs = model(**inputs, return_dict=True)
    logits = outputs.logits[:, -1].to(torch.float32, copy=first)  # a view would keep those of the whole prompt
    return logits, library.next_arguments(model, outputs, model_kwargs)


def _keep(model_kwargs: dict[str, Any], rows: Tensor, batch: int) -> dict[str, Any]:
    """Return the arguments of ``rows`` alone; the cache is changed in place."""

    def of(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Tensor):
            return value.index_select(0, rows) if value.ndim and len(value) == batch else value
        if hasattr(value, "reorder_cache"):
            value.reorder_cache(rows)
        elif isinstance(value, dict):  # such as the encoder's output
            for name in list(value):
                value[name] = of(value[name])
        return value

    return {name: of(value) for name, value in model_kwargs.items()}
