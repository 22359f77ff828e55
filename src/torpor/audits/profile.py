"""What clean inputs cost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from torpor.audits.examples import FIRST
from torpor.audits.timing import REPEATS
from torpor.bounds.static import static_bound
from torpor.core.batches import Samples
from torpor.core.errors import DataError
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.meters import WallClock, calibrate, latency
from torpor.metrics import benign_percentile, efficacy_eec, efficacy_step, exit_histogram, tails
from torpor.targets.base import Target
from torpor.targets.candidates import CandidateTarget
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.steps import StepTarget


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
    flops: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    work: list[Work] = []
    right: list[torch.Tensor] = []
    capped = 0
    cut: int | None = None
    first: list[Samples] = []
    for batch in data.batches("test", batch_size, limit):
        inputs = target.read(batch.inputs)
        outcome = target.run(inputs)
        flops.append(target.prices.cost(outcome.work).numpy())
        work.append(outcome.work)
        right.append(target.utility(outcome.outputs, batch.references))
        capped += sum(output.capped for output in outcome.outputs) if isinstance(target, StepTarget) else 0
        if batch.cut is not None:
            cut = (cut or 0) + sum(lost > 0 for lost in batch.cut)
        first += [inputs[row : row + 1] for row in range(min(len(inputs), FIRST - len(first)))]
    if not flops:
        raise DataError(f"expected test samples for {target.name}, got none")
    cost, counts = np.concatenate(flops), Work.cat(work)
    tail = tails(cost)
    clock = WallClock(target.device)
    timed = latency([lambda sample=sample: target.run(sample) for sample in first], clock, repeats=REPEATS)  # type: ignore[misc]
    profile: dict[str, Any] = {
        "target": target.name,
        "n": len(cost),
        "cut_n": cut,
        "flops_mean": tail.mean,
        "flops_p50": tail.p50,
        "flops_p99": tail.p99,
        "flops_p999": benign_percentile(cost),
        "flops_max": tail.max,
        "flops_static": static_bound(target).flops,
        "utility_name": target.utility_name,
        "utility": _known(torch.cat(right).mean().item()),
        "latency_s_p50": timed.s_p50,
        "latency_valid": timed.valid,
        "latency_reason": timed.reason,
    }
    if isinstance(target, EarlyExitTarget):
        costs, taken = target.exit_costs.numpy(), target.exits(counts).numpy()
        profile |= {"rule": target.rule.describe(), "exit_histogram": exit_histogram(taken, len(costs)).tolist()}
        profile |= {"efficacy_step": efficacy_step(taken, costs), "efficacy_eec": efficacy_eec(taken, costs)}
    if isinstance(target, StepTarget):
        steps = tails(target.iterations(counts).numpy())
        profile |= {"cap": target.cap, "steps_mean": steps.mean, "steps_p50": steps.p50, "steps_p99": steps.p99}
        profile |= {"steps_max": steps.max, "cap_hit_rate": capped / len(cost)}
    if isinstance(target, CandidateTarget):
        means = counts.counts.to(torch.float64).mean(0).tolist()
        profile |= {"units_mean": dict(zip((unit.name for unit in target.units), means, strict=True))}
    if seconds:
        prices = calibrate(target, first[0], clock)
        names = [unit.name for unit in target.units]
        profile |= {"price_list": prices.name, "seconds_per_unit": dict(zip(names, prices.per_unit, strict=True))}
    return profile


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
