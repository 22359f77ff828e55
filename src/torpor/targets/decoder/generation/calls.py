"""Check on every run that the network ran as often as its price list assumes, whatever ``generate`` makes of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.library import entered

READ = ("decoder_input_ids", "input_ids", "decoder_inputs_embeds", "inputs_embeds", "hidden_states")
"""Arguments that hold what a part of a model reads, ``[B, T, ...]``, in the order in which they count."""


@dataclass
class CallCounts:
    """What ran.

    Attributes:
        calls: forward calls of each part.
        tokens: that each part was fed, rows times tokens of a row.
    """

    calls: list[int]
    tokens: list[int]


class ForwardCalls:
    """How often each part of a model runs, as a linear function of tokens read and decoder steps.

    The parts are the model, its encoder and decoder, its head and its layers; the last one is any network that runs
    outside of the model's forward pass, such as one that a logits processor asks. The function is learned from runs of
    known length, those that the price list comes from. What runs more often for some inputs only (guidance, a second
    model, a step that reads several tokens) then shows, and no work is reported for it.

    Args:
        model: one of transformers' models.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers' own classes
        self.model = model
        self._seen: list[tuple[tuple[int, int, int], CallCounts]] = []
        self._rule: tuple[Tensor, Tensor] | None = None

    def _parts(self) -> list[nn.Module]:
        """Return the parts; looked up in every run, because parts may be replaced."""
        model = self.model
        parts: list[Any] = [*entered(model), model.get_decoder(), model.get_output_embeddings()]
        lists: list[str] = []
        for name, module in model.named_modules():
            if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
                lists.append(name)
                parts += module
        return list({id(part): part for part in parts if part is not None}.values())

    @contextmanager
    def counted(self) -> Iterator[CallCounts]:
        """Count what this thread runs."""
        parts = self._parts()
        count = _Counter(len(parts), entered(self.model))
        with ExitStack() as hooks:
            hooks.callback(count.unwatch)
            count.watch()
            for place, part in enumerate(parts):
                if id(part) in count.entries:
                    hooks.callback(part.register_forward_pre_hook(count.enter).remove)
                    hooks.callback(part.register_forward_hook(count.leave, always_call=True).remove)
                hooks.callback(part.register_forward_pre_hook(partial(count.note, place), with_kwargs=True).remove)
            yield count.tally

    def learn(self, length: int, steps: int, tally: CallCounts) -> None:
        """Remember a run of one sample; check it, once the function is settled.

        Args:
            length: tokens that it read.
            steps: its decoder steps.
            tally: what ran.
        """
        if self._rule is None:
            self._seen.append(((1, length, steps), tally))
        self.check(length, [steps], tally)

    def settle(self) -> None:
        """Find the function that all remembered runs obey; parts without one are not checked any more."""
        runs = torch.tensor([run for run, _ in self._seen], dtype=torch.float64)
        self._rule = (
            _fit(runs, [tally.calls for _, tally in self._seen]),
            _fit(runs, [tally.tokens for _, tally in self._seen]),
        )

    def check(self, width: int, steps: Sequence[int], tally: CallCounts) -> None:
        """Compare what ran with what decoding some samples at once takes.

        Args:
            width: tokens that each sample reads, padding included.
            steps: decoder steps of each sample.
            tally: what ran.

        Raises:
            UsageError: if something ran more or less often.
        """
        self._compare((1, width, max(steps)), (len(steps), len(steps) * width, sum(steps)), tally)

    def check_one_by_one(self, steps: Sequence[int], tally: CallCounts) -> None:
        """Compare what ran with what decoding some inputs that are no texts, one after the other, takes.

        Args:
            steps: decoder steps of each.
            tally: what ran.

        Raises:
            UsageError: if something ran more or less often.
        """
        runs = len(steps), 0, sum(steps)
        self._compare(runs, runs, tally)

    def _compare(self, called: tuple[int, int, int], read: tuple[int, int, int], tally: CallCounts) -> None:
        """Compare with the rule of so many runs, tokens that they read, and decoder steps."""
        if self._rule is None:
            return
        calls, tokens = self._rule
        wanted = calls @ torch.tensor(called, dtype=torch.float64)
        fed = tokens @ torch.tensor(read, dtype=torch.float64)
        for what, expected, found in (("forward calls", wanted, tally.calls), ("tokens fed", fed, tally.tokens)):
            for place, (one, other) in enumerate(zip(expected.tolist(), found, strict=True)):
                if not math.isnan(one) and one != other:
                    raise UsageError(
                        f"expected {int(one)} {what} of {self._name(place)} for {read[0]} inputs and {read[2]} "
                        f"decoder steps, as its price list assumes, got {other}; deploy it without what runs it "
                        "otherwise"
                    )

    def _name(self, place: int) -> str:
        parts = self._parts()
        if place == len(parts):
            return "networks beside the model"
        name = next(name for name, part in self.model.named_modules() if part is parts[place])
        return f"{type(self.model).__name__}.{name}" if name else type(self.model).__name__


class _Counter:
    """The hooks of one run.

    Args:
        parts: how many are counted.
        entries: modules inside of which any network may run.
    """

    def __init__(self, parts: int, entries: Sequence[nn.Module | None]) -> None:
        self.tally = CallCounts([0] * (parts + 1), [0] * (parts + 1))
        self.entries = {id(entry) for entry in entries if entry is not None}
        self.thread, self.depth = threading.get_ident(), 0
        self._global: RemovableHandle | None = None

    def watch(self) -> None:
        """Notice every network; inside of the model's forward pass it would take too long."""
        self._global = register_module_forward_pre_hook(self.outside)

    def unwatch(self) -> None:
        """Stop watching."""
        if self._global is not None:
            self._global.remove()

    def note(self, place: int, module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count a part."""
        if threading.get_ident() == self.thread:
            self.tally.calls[place] += 1
            self.tally.tokens[place] += _tokens(args, kwargs)

    def outside(self, module: nn.Module, args: object) -> None:
        """Count a network outside of the model's forward pass; a mere look-up is free."""
        mine = threading.get_ident() == self.thread
        if mine and id(module) not in self.entries and not isinstance(module, nn.Embedding):
            self.tally.calls[-1] += 1

    def enter(self, *_: object) -> None:
        """Note that the model or its encoder begins."""
        if threading.get_ident() == self.thread:
            self.depth += 1
            if self.depth == 1:
                self.unwatch()

    def leave(self, *_: object) -> None:
        """Note that the model or its encoder ends."""
        if threading.get_ident() == self.thread:
            self.depth -= 1
            if self.depth == 0:
                self.watch()


def _fit(runs: Tensor, counts: list[list[int]]) -> Tensor:
    """Return integer coefficients ``[parts, 3]``; NaN where a part's counts are not linear in the runs."""
    wanted = torch.tensor(counts, dtype=torch.float64)
    found: Tensor = torch.linalg.lstsq(runs, wanted, driver="gelsd").solution.round()
    found[:, ((runs @ found) != wanted).any(0)] = torch.nan
    return found.T


def _tokens(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return rows times tokens of a row of what a part is given."""
    given = next((kwargs[name] for name in READ if isinstance(kwargs.get(name), Tensor)), args[0] if args else None)
    return given.shape[0] * given.shape[1] if isinstance(given, Tensor) and given.ndim > 1 else 0
