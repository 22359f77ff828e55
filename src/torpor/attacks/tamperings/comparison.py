"""What a tampering did to cost and utility: the same inputs, clean and triggered, before and after, and its control."""

from __future__ import annotations

from dataclasses import dataclass

from torpor.attacks.tampering import Tampered, Tampering
from torpor.core.batches import Samples
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
    """

    target: str
    triggered: bool
    utility: float
    cost: float
    slowdown: float
    headroom: float
    count: int


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
                )
            )
    return made, rows
