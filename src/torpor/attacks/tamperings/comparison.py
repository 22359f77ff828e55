"""What a tampering did to cost and utility: the same inputs, clean and triggered, before and after, and its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torpor.attacks.tampering import Tampered, Tampering
from torpor.core.batches import Samples
from torpor.core.measures import COST
from torpor.core.work import Outcome
from torpor.data.sets import DataSet
from torpor.metrics.headroom import headroom
from torpor.targets.base import Target


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
        figures: means of what else the target's family counts first, by title, such as ``"objects handed on"``.
    """

    target: str
    triggered: bool
    utility: float
    cost: float
    slowdown: float
    headroom: float
    count: int
    figures: Mapping[str, float] = field(default_factory=dict)


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
    before = target.prices.cost(target.run(inputs).work).numpy()
    rows = []
    for name, network in networks:
        for triggered, given in kinds:
            outcome = network.run(given)
            cost = network.prices.cost(outcome.work).numpy()
            static = network.prices.cost(network.max_work(given)).numpy()
            rows.append(
                Compared(
                    name,
                    triggered,
                    network.utility(outcome.outputs, batch.references).mean().item(),
                    float(cost.mean()),
                    float(cost.mean() / before.mean()),
                    float(headroom(cost, before, static).mean()),
                    len(batch),
                    figures(network, outcome),
                )
            )
    return made, rows


def figures(target: Target, outcome: Outcome) -> dict[str, float]:
    """Return the means of what a target's family counts first beside cost, by title."""
    known = target.family.profile(target, outcome.work, outcome.outputs)
    found = {each.title: each.value(known) for each in target.family.headlines(target) if each != COST}
    return {title: value for title, value in found.items() if value is not None}
