"""Price lists: what one run of each unit costs on something. Attack once, price on many devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.units import Unit
from torpor.core.work import Work


@dataclass(frozen=True)
class PriceList:
    """Cost per unit.

    Attributes:
        name: of the currency, such as ``"flops"``, and on what, as in ``"seconds on 2-core CPU"``.
        per_unit: price of one run of each unit, in the target's order.

    >>> prices = PriceList.flops([Unit("exit0", 10), Unit("exit1", 5)])
    >>> prices.cost(Work(torch.tensor([[1, 1]]))).item()
    15.0
    """

    name: str
    per_unit: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(price) and price >= 0 for price in self.per_unit):
            raise UsageError(f"expected finite prices of 0 or more, got {self.per_unit} in price list {self.name!r}")

    @property
    def currency(self) -> str:
        """What costs are in.

        >>> PriceList("seconds on 2-core CPU", (0.1,)).currency
        'seconds'
        """
        return self.name.split(" ")[0]

    @staticmethod
    def flops(units: Sequence[Unit]) -> PriceList:
        """Price units in FLOPs (two per multiply-add).

        Raises:
            UsageError: if those of some unit are unknown.
        """
        known = [unit.flops for unit in units if unit.flops is not None]
        if len(known) < len(units):
            unknown = next(unit.name for unit in units if unit.flops is None)
            raise UsageError(
                f"expected the FLOPs of each unit, got none of {unknown!r}; write the target's price(), in tokens for "
                "example"
            )
        return PriceList("flops", tuple(map(float, known)))

    def cost(self, work: Work) -> Tensor:
        """Price each sample, float64 ``[B]``.

        Raises:
            UsageError: if ``work`` counts another number of units.
        """
        if work.counts.shape[1] != len(self.per_unit):
            units = work.counts.shape[1]
            raise UsageError(f"expected work on {len(self.per_unit)} units, got {units}; use the target's own prices")
        return work.cost(torch.tensor(self.per_unit, dtype=torch.float64, device=work.counts.device))
