"""(p) The standard search on texts: ``python -m benchmarks.text_search``.

How long does it take to texts that cost as much, on average, as what NMTSloth's whole search finds, and how much of its
time is not the model's? The model's time is that of its forward passes, its encoder's by itself included, and of
backward passes. The hooks that count which of its parts run are inside. All texts are searched together, as in audits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import TRANSLATOR, Options, Row, Times, busy, command, interleave, translators
from torpor.attacks.result import AttackResult
from torpor.attacks.text.nmtsloth import NMTSlothChar
from torpor.attacks.text.standard import StandardText
from torpor.meters.clock import Clock, timed
from torpor.targets.decoder.generation.library import entered
from torpor.targets.decoder.generation.texts import SourceTarget

GOAL, OVERHEAD = 0.2, 0.1
EDITS = 3
TEXTS = 8


def passes_to(result: AttackResult, costs: Tensor, wanted: float) -> int | None:
    """Return after how many passes on each sample the best of all samples cost ``wanted`` on average; None if never.

    Args:
        result: with curves.
        costs: of the clean inputs, ``[B]``.
        wanted: mean cost.
    """
    assert result.curves is not None
    best, points = costs.tolist(), [(*point[:2], row) for row, curve in enumerate(result.curves) for point in curve]
    for passes, cost, row in sorted(points):
        best[row] = cost
        if np.mean(best) >= wanted:
            return passes
    return None


def time_to_cost(target: SourceTarget, texts: Sequence[str], options: Options, *, rounds: int = 3) -> Row:
    """Compare the time to texts of the cost of NMTSloth's with the time of its whole search.

    Where the standard search does not find them, all of its time counts.
    """
    theirs, ours = NMTSlothChar(eps=EDITS), StandardText(eps=EDITS)
    found = {"NMTSloth's": theirs(target, texts, seed=0), "at the standard search's end": ours(target, texts, seed=0)}
    clean, wanted, ended = (
        target.prices.cost(work)
        for work in (found["NMTSloth's"].clean.work, *(result.attacked.work for result in found.values()))
    )
    passes = passes_to(found["at the standard search's end"], clean, wanted.mean().item())
    enough = replace(ours, queries=passes or ours.queries)
    calls = {
        "theirs": lambda: theirs.search(target, texts, (), 0),
        "ours": lambda: enough.search(target, texts, (), 0),
    }
    times = interleave(calls, options, rounds=rounds, warmup=0)
    value, ci95 = times.estimate(lambda median: median["ours"] / median["theirs"])
    steps = {"clean": texts, **{name: result.inputs for name, result in found.items()}}
    told = ", ".join(f"{target.score(inputs).double().mean():.1f} {what}" for what, inputs in steps.items())
    reached = "cost not reached" if passes is None else f"cost reached after {passes} passes on each"
    rows = (ended >= wanted).sum().item()
    note = (
        f"{len(texts)} texts, {reached}; NMTSloth's cost of that text on {rows} of them in the end; decoder steps: "
        f"{told}{busy(times)}"
    )
    goal = GOAL if target.name == TRANSLATOR else None
    return Row(f"(p) standard search to NMTSloth's cost / NMTSloth, {target.name}", value, ci95, goal, note=note)


@dataclass
class Spent:
    """Seconds inside of a model, and how many calls took them."""

    seconds: float = 0.0
    calls: int = 0


@contextmanager
def model_time(model: Any, clock: Clock) -> Iterator[Spent]:  # noqa: ANN401 - one of transformers' models
    """Add up the time of a model's forward passes, its encoder's by itself included, and of backward passes."""
    spent, inside = Spent(), False

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # transformers reads the names of a forward pass's arguments
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            nonlocal inside
            if inside:
                return function(*args, **kwargs)
            inside, start = True, clock.now()
            try:
                return function(*args, **kwargs)
            finally:
                spent.seconds += clock.now() - start
                spent.calls += 1
                inside = False

        return call

    with ExitStack() as stack:
        for module in entered(model):
            stack.enter_context(patch.object(module, "forward", watched(module.forward)))
        stack.enter_context(patch.object(torch.autograd, "grad", watched(torch.autograd.grad)))
        yield spent


def overhead(target: SourceTarget, texts: Sequence[str], options: Options, *, rounds: int = 3) -> Row:
    """Compare the time of the whole standard search outside of the model with the time inside."""
    attack = StandardText(eps=EDITS)
    whole, waits, inside = [], [], []
    for _ in range(options.rounds or rounds):
        with model_time(target.model, options.clock) as spent:
            took, waited = timed(lambda: attack.search(target, texts, (), 0), options.clock)
        whole.append(took)
        waits.append(waited)
        inside.append(spent)
    model = np.array([spent.seconds for spent in inside])
    times = Times({"loop": np.array(whole) - model, "model": model}, float(np.median(waits)))
    value, ci95 = times.estimate(lambda median: median["loop"] / median["model"])
    ms, calls = 1e3 * model.mean() / inside[0].calls, inside[0].calls
    note = f"{len(texts)} texts, {calls:,} calls of the model, {ms:.1f} ms each{busy(times)}"
    goal = OVERHEAD if target.name == TRANSLATOR else None
    return Row(f"(p) standard search outside of the model / inside, {target.name}", value, ci95, goal, note=note)


def run(options: Options) -> list[Row]:
    """Compare on the first texts of the test split, three characters each."""
    found = translators(TEXTS, options)
    return [measure(target, texts, options) for target, texts in found for measure in (time_to_cost, overhead)]


if __name__ == "__main__":
    command(run)
