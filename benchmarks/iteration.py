"""What the benchmarks of an attack's iteration share: the candidates that it visits, and bare passes over them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from benchmarks.common import Options, Row, busy, interleave
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.targets.detector.detection import DetectorTarget

STEPS = 8

TargetT = TypeVar("TargetT", CaptionerTarget, DetectorTarget)


def visited(target: TargetT, search: Callable[[TargetT], object]) -> list[Tensor]:
    """Return the candidates that a search evaluates, in order."""
    found: list[Tensor] = []

    def signals(inputs: Tensor) -> Any:  # noqa: ANN401
        found.append(inputs.detach().clone())
        return target.signals(inputs)

    noting = copy.copy(target)
    vars(noting)["signals"] = signals
    search(noting)
    return found


def iteration(
    row: Row,
    target: TargetT,
    search: Callable[[TargetT], object],
    bare: Callable[..., object],
    count: Callable[[Tensor], Tensor],
    options: Options,
    rounds: int,
) -> Row:
    """Compare an attack of ``STEPS`` iterations, its set-up included, with the bare passes over its candidates.

    ``bare`` goes over ``target`` and inputs by the network alone, ``backward`` or not. The row comes without numbers;
    its note says what ``count`` tells of each image.
    """
    candidates = visited(target, search)

    def repeat() -> None:
        for inputs in candidates[:-1]:
            bare(target, inputs, backward=True)
        bare(target, candidates[-1], backward=False)

    times = interleave({"attack": lambda: search(target), "bare": repeat}, options, rounds=rounds, warmup=1)
    value, ci95 = times.estimate(lambda median: median["attack"] / median["bare"])
    first, last = (count(found).double().mean().item() for found in (candidates[0], candidates[-1]))
    ms = 1e3 * times.seconds["bare"].mean() / STEPS
    note = f"{ms:.0f} ms per pass, {first:.0f} {row.note}, {last:.0f} at the end{busy(times)}"
    return Row(row.name, value, ci95, row.goal, note=note)
