"""What a tampering did to cost and utility: the same inputs, clean and triggered, before and after, and its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torpor.attacks.tampering import Tampered, Tampering
from torpor.core.batches import Samples
from torpor.data.sets import DataSet
from torpor.metrics.headroom import headroom
from torpor.targets.base import Target

OWN = ("exit", "density", "energy_ratio", "kept", "steps", "capped")
"""Columns of families by which papers measure what a tampering did."""


@dataclass(frozen=True)
class Compared:
    """One network with one kind of inputs.

    Attributes:
        target: ``"clean"``, ``"tampered"`` or ``"control"``.
        triggered: whether inputs carry the trigger.
        utility: mean over the inputs.
        cost: mean, in the target's currency.
        slowdown: mean cost by the mean cost of the clean target on the inputs without a trigger.
        headroom: mean share of the gap between clean cost and static bound that is closed, beside the same inputs
            without trigger on the clean target.
        count: inputs.
        own: means of those columns of :data:`OWN` that the target's family has: the number of the exit, from 0, the
            share of neurons that fire, the energy by that without any zero, objects handed on, steps, and the share of
            inputs at the cap.
    """

    target: str
    triggered: bool
    utility: float
    cost: float
    slowdown: float
    headroom: float
    count: int
    own: Mapping[str, float] = field(default_factory=dict)


def make_and_compare(
    tampering: Tampering,
    target: Target,
    data: DataSet,
    *,
    seed: int = 0,
    limit: int | None = None,
    control: bool = True,
) -> tuple[Tampered, list[Compared]]:
    """Tamper with a target, and compare on test data.

    Args:
        tampering: what is done.
        target: a clean one.
        data: to learn from, and to compare on: the splits are disjoint.
        seed: of all randomness.
        limit: test samples at most.
        control: whether the control is made and compared, too; it takes as long again.

    Returns:
        What was made, and the rows: the clean target first.
    """
    made = tampering.apply(target, data, seed)
    batch = data.load("test", limit)
    inputs = target.read(batch.inputs)
    networks = [("clean", target), ("tampered", made.target)]
    if control and not tampering.control:
        networks.append(("control", made.tampering.as_control()(target, data, seed)))
    kinds: list[tuple[bool, Samples]] = [(False, inputs)]
    if tampering.triggered:
        kinds.append((True, made.trigger(inputs)))
    clean = target.run(inputs)
    before = target.prices.cost(clean.work).numpy()
    rows = []
    for name, network in networks:
        for triggered, given in kinds:
            outcome = network.run(given)
            cost = network.prices.cost(outcome.work).numpy()
            most = network.max_work(given)
            static = network.prices.cost(most).numpy()
            observed = network.family.observe(network, clean, outcome, most, batch.references)
            rows.append(
                Compared(
                    name,
                    triggered,
                    network.utility(outcome.outputs, batch.references).mean().item(),
                    float(cost.mean()),
                    float(cost.mean() / before.mean()),
                    float(headroom(cost, before, static).mean()),
                    len(batch),
                    means(observed),
                )
            )
    return made, rows


def means(columns: Mapping[str, Any]) -> dict[str, float]:
    """Return the means of those columns of a family that :data:`OWN` names.

    >>> means({"exit": [0, 2], "output": ["a", "b"]})
    {'exit': 1.0}
    """
    return {name: float(np.asarray(columns[name], dtype=np.float64).mean()) for name in OWN if name in columns}
