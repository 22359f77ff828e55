"""(p) The standard search on texts: ``python -m benchmarks.text_search``.

How long does it take to a result as long as that of NMTSloth's whole search, and how much of its time is not the
model's? The model's time is that of its forward passes, its encoder's by itself included, and of backward passes. The
hooks that count which of its parts run are inside. Each text is searched by itself.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import TRANSLATOR, Medians, Options, Row, Times, busy, command, interleave, translators
from torpor.attacks.text.nmtsloth import NMTSlothChar
from torpor.attacks.text.search.driver import TextSearch
from torpor.attacks.text.standard import StandardText
from torpor.meters.clock import Clock, timed
from torpor.targets.decoder.generation.library import entered
from torpor.targets.decoder.generation.texts import SourceTarget

GOAL, OVERHEAD = 0.2, 0.1
EDITS = 3
TEXTS = 4


class LongEnough(Exception):  # noqa: N818 - no error: the search has what it was started for
    """A text makes the target run as many steps as wanted."""


def search(target: SourceTarget, attack: TextSearch, text: str) -> int:
    """Return how many decoder steps the target runs for what an attack finds from one text."""
    found = attack.search(target, (text,), (), 0).inputs
    assert isinstance(found, tuple)
    return int(target.score(found))


def reaches(target: SourceTarget, attack: TextSearch, text: str, length: int) -> bool:
    """Search from one text until another makes the target run ``length`` steps; tell whether one does."""

    def score(texts: Sequence[str]) -> Tensor:
        found = target.score(texts)
        if found.max() >= length:
            raise LongEnough
        return found

    watched = copy.copy(target)
    vars(watched)["score"] = score
    try:
        attack.search(watched, (text,), (), 0)
    except LongEnough:
        return True
    return False


def time_to_length(target: SourceTarget, texts: Sequence[str], options: Options, *, rounds: int = 3) -> Row:
    """Compare the time to a text of NMTSloth's length with the time of its whole search, all texts together.

    Where the standard search does not find one, all of its time counts.
    """
    theirs, ours = NMTSlothChar(eps=EDITS), StandardText(eps=EDITS)
    lengths = [search(target, theirs, text) for text in texts]
    missed = sum(not reaches(target, ours, text, length) for text, length in zip(texts, lengths, strict=True))
    calls: dict[str, Callable[[], object]] = {}
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        calls[f"theirs {row}"] = functools.partial(search, target, theirs, text)
        calls[f"ours {row}"] = functools.partial(reaches, target, ours, text, length)
    times = interleave(calls, options, rounds=rounds, warmup=0)

    def of(rows: Iterable[int]) -> Callable[[Medians], NDArray[np.float64]]:
        def ratio(median: Medians) -> NDArray[np.float64]:
            mine, other = (np.stack([median[f"{who} {row}"] for row in rows]) for who in ("ours", "theirs"))
            return np.asarray(mine.sum(0) / other.sum(0))

        return ratio

    value, ci95 = times.estimate(of(range(len(texts))))
    each = [times.estimate(of((row,)))[0] for row in range(len(texts))]
    steps = {
        "clean": target.score(texts).tolist(),
        "NMTSloth's": lengths,
        "at the standard search's end": [search(target, ours, text) for text in texts],
    }
    told = ", ".join(f"{np.mean(found):.1f} {what}" for what, found in steps.items())
    note = (
        f"{len(texts)} texts, {min(each):.3f} to {max(each):.3f} each, length not reached on {missed}; decoder steps: "
        f"{told}{busy(times)}"
    )
    goal = GOAL if target.name == TRANSLATOR else None
    return Row(f"(p) standard search to NMTSloth's length / NMTSloth, {target.name}", value, ci95, goal, note=note)


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
            took, waited = timed(lambda: [search(target, attack, text) for text in texts], options.clock)
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
    return [measure(target, texts, options) for target, texts in found for measure in (time_to_length, overhead)]


if __name__ == "__main__":
    command(run)
