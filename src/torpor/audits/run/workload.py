"""A small piece of the work that an audit is going to do, to choose the number of threads by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from torpor.core.errors import TorporError, UsageError
from torpor.data.sets import DataSet
from torpor.meters.threads import Threads, gainful_threads, measured, using
from torpor.targets.base import Target

MOST_SAMPLES, SHORT_S, LONG_S = 128, 0.25, 1.0
"""As many samples run at once as take about ``SHORT_S``; one that takes longer than ``LONG_S`` runs only once."""


@contextmanager
def chosen_threads(target: Target, data: Callable[[], DataSet], asked: int | None = None) -> Iterator[Threads]:
    """Let torch use, inside the block, as many threads as were asked for, or as ``target`` gains from on its inputs.

    A target on another device than the CPU, or one that cannot be run yet, leaves torch's own number.

    Args:
        target: what is going to run.
        data: returns its inputs; called only to measure.
        asked: this many; None to measure.

    Raises:
        UsageError: if fewer than one is asked for.

    >>> from torpor.targets.early_exit.toys import needle
    >>> toy = needle()
    >>> with chosen_threads(toy, lambda: toy.data(None), asked=1) as threads:
    ...     threads.used, threads.why
    (1, 'as asked for')
    """
    with using(_choice(target, data, asked)) as threads:
        yield threads


def _choice(target: Target, data: Callable[[], DataSet], asked: int | None) -> Threads:
    most = torch.get_num_threads()
    if asked is not None:
        if asked < 1:
            raise UsageError(f"expected 1 thread or more, got {asked}")
        return Threads(asked, max(asked, most), "as asked for")
    if most == 1:
        return Threads(1, 1, "there is one")
    if target.device.type != "cpu":
        return Threads(most, most, f"the target runs on {target.device.type}")
    try:
        return Threads(gainful_threads(_small_run(target, data()), most), most, "measured on the target")
    except TorporError:  # whatever it is, the audit itself is going to say it
        return Threads(most, most, "the target could not be measured")


def _small_run(target: Target, data: DataSet) -> Callable[[], object]:
    """Return a call that takes some tenths of a second at most, or the shortest there is."""
    one = target.read(data.load("test", 1).inputs)
    seconds, _ = measured(lambda: target.run(one))
    if seconds < LONG_S:  # the first run prepares what the next ones share
        seconds, _ = measured(lambda: target.run(one))
    count = min(MOST_SAMPLES, int(SHORT_S / max(seconds, 1e-6)))
    if count >= 1:
        several = target.read(data.load("test", count).inputs)
        return lambda: target.run(several)
    _, probe = next(iter(target.probes(one)))
    return probe
