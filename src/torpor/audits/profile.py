"""What clean inputs cost."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from torpor.audits.run.rows import FIRST
from torpor.audits.run.timing import REPEATS
from torpor.bounds.static import static_bound
from torpor.core.batches import Samples
from torpor.core.errors import DataError
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.meters import WallClock, latency
from torpor.meters.calibration import calibration
from torpor.metrics import benign_percentile, tails
from torpor.targets.base import Target


def clean_profile(
    target: Target, data: DataSet, *, limit: int | None, batch_size: int, seconds: bool
) -> dict[str, Any]:
    """Run the test split as deployed and return its cost profile.

    Args:
        target: what to run.
        data: of the target, or the user's own.
        limit: samples at most.
        batch_size: samples per batch.
        seconds: also calibrate a price list of seconds per unit.

    Raises:
        DataError: if the data cannot be read.
        MeterError: if ``seconds`` are asked for and some unit's price cannot be told apart.
    """
    target.family.check(target)
    costs: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    work: list[Work] = []
    right: list[torch.Tensor] = []
    outputs = list[Any]()
    cut: int | None = None
    first: list[Samples] = []
    for batch in data.batches("test", batch_size, limit):
        inputs = target.read(batch.inputs)
        outcome = target.run(inputs)
        costs.append(target.prices.cost(outcome.work).numpy())
        work.append(outcome.work)
        right.append(target.utility(outcome.outputs, batch.references))
        outputs += list(outcome.outputs)
        if batch.cut is not None:
            cut = (cut or 0) + sum(lost > 0 for lost in batch.cut)
        first += [inputs[row : row + 1] for row in range(min(len(inputs), FIRST - len(first)))]
    if not costs:
        raise DataError(f"expected test samples for {target.name}, got none")
    cost, counts = np.concatenate(costs), Work.cat(work)
    tail = tails(cost)
    clock, why = WallClock(target.device), target.family.untimed(target)
    anew: Any = target if target.offers("asked_anew") else None
    with nullcontext() if anew is None else anew.asked_anew():
        calls = [] if why else [lambda sample=sample: target.run(sample) for sample in first]
        timed = latency(calls, clock, repeats=REPEATS) if calls else None
    profile: dict[str, Any] = {
        "target": target.name,
        "n": len(cost),
        "currency": target.prices.currency,
        "cut_n": cut,
        "cost_mean": tail.mean,
        "cost_p50": tail.p50,
        "cost_p99": tail.p99,
        "cost_p999": benign_percentile(cost),
        "cost_max": tail.max,
        "cost_static": static_bound(target).cost,
        "utility_name": target.utility_name,
        "utility": _known(torch.cat(right).mean().item()),
        "latency_s_p50": timed.s_p50 if timed else None,
        "latency_valid": timed.valid if timed else None,
        "latency_reason": timed.reason if timed else why,
    }
    profile |= target.family.profile(target, counts, outputs)
    if seconds:
        check = [(target.run(first[0]).work, lambda: target.run(first[0]))]
        found = calibration(target, first[0], clock, check=check)
        names = [unit.name for unit in target.units]
        profile |= {
            "price_list": found.prices.name,
            "seconds_per_unit": dict(zip(names, found.prices.per_unit, strict=True)),
            "seconds_error": found.error,
            "seconds_valid": found.valid,
            "seconds_reason": found.reason,
        }
    return profile


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
