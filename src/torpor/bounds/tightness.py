"""How much tighter a bound of single inputs is than the static one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from torpor.bounds.base import Bound
from torpor.core.budget import Budget
from torpor.core.errors import DataError
from torpor.data.sets import DataSet
from torpor.targets.base import Target

BATCH = 64
"""Samples that are bounded together."""


@dataclass(frozen=True)
class Tightness:
    """A bound on the test samples.

    Attributes:
        bound: its name.
        target: name of the target.
        currency: what costs are in.
        norm: of the budget; None for any input.
        eps: of the budget; None for any input.
        n: samples.
        clean: mean cost of the clean inputs.
        certified: mean cost that no input within the budget exceeds.
        static: the static bound.
        slowdown_mean: mean over samples of bound over clean cost.
        slowdown_max: the largest one.
    """

    bound: str
    target: str
    currency: str
    norm: str | None
    eps: float | None
    n: int
    clean: float
    certified: float
    static: float
    slowdown_mean: float
    slowdown_max: float


def tightness(
    bound: Bound, target: Target, data: DataSet, budget: Budget | None = None, limit: int | None = None
) -> Tightness:
    """Bound every test sample.

    Args:
        bound: applies to ``target``.
        target: what runs.
        data: whose test split is read.
        budget: how far inputs may be from the clean ones; None for any input.
        limit: samples at most.

    Raises:
        DataError: if there are no samples.
        UsageError: if the bound does not apply, or some clean input exceeds it.

    >>> from torpor.bounds.static import Static
    >>> from torpor.data.tensors import TensorImages
    >>> from torpor.targets.early_exit.toys import needle
    >>> data = TensorImages({"test": (torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))})
    >>> tightness(Static(), needle(), data).slowdown_mean
    4.0
    """
    clean, certified = list[torch.Tensor](), list[torch.Tensor]()
    for batch in data.batches("test", BATCH, limit):
        inputs = target.space.check(target.read(batch.inputs))
        certified.append(target.prices.cost(bound(target, inputs, budget)).cpu())
        clean.append(target.prices.cost(target.run(inputs).work).cpu())
    if not clean:
        raise DataError(f"expected test samples in {data.name}, got none")
    most, own = torch.cat(certified), torch.cat(clean)
    return Tightness(
        bound=bound.id,
        target=target.name,
        currency=target.prices.currency,
        norm=budget.norm if budget else None,
        eps=budget.eps if budget else None,
        n=len(own),
        clean=own.mean().item(),
        certified=most.mean().item(),
        static=target.prices.cost(target.static_work()).item(),
        slowdown_mean=(most / own).mean().item(),
        slowdown_max=(most / own).max().item(),
    )
