"""Work: how often each unit ran for each sample, what that costs, and what a run returns beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.lazy import Renamed
from torpor.core.units import Unit


@dataclass(frozen=True, eq=False)
class Work:
    """Counts per sample and unit.

    Attributes:
        counts: int64 ``[B, U]``, one column per unit of the target, in the target's order.

    >>> work = Work(torch.tensor([[1, 0], [1, 1]]))
    >>> len(work), work.cost(torch.tensor([10.0, 5.0])).tolist()
    (2, [10.0, 15.0])
    """

    counts: Tensor

    def __post_init__(self) -> None:
        if self.counts.dtype != torch.int64 or self.counts.ndim != 2:
            shape = tuple(self.counts.shape)
            raise UsageError(
                f"expected work counts as int64 [B, U], got {self.counts.dtype} {shape}; count in integers"
            )

    def __len__(self) -> int:
        return self.counts.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Work:
        return Work(self.counts[rows])

    def cost(self, prices: Tensor) -> Tensor:
        """Price each sample: ``counts @ prices``, float64 ``[B]``."""
        return self.counts.to(torch.float64) @ prices.to(torch.float64)

    @staticmethod
    def cat(parts: Sequence[Work]) -> Work:
        """Stack the samples of several batches.

        >>> Work.cat([Work(torch.tensor([[1]])), Work(torch.tensor([[2]]))]).counts.tolist()
        [[1], [2]]
        """
        return Work(torch.cat([part.counts for part in parts]))


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


@dataclass(frozen=True, eq=False)
class Outcome:
    """Outputs of a dynamic run and the work that produced them.

    Attributes:
        outputs: the target's own kind, one entry per sample: logits ``[B, C]`` for classifiers, a tuple of
            :class:`Generation` for decoders.
        work: counts per sample and unit.
        rejected: which samples an input detector rejected, bool ``[B]``, whose outputs mean nothing; None if the target
            rejects no inputs.
    """

    outputs: Any
    work: Work
    rejected: Tensor | None = None

    refused = Renamed("rejected")


@dataclass(frozen=True)
class Generation:
    """What a decoder generated for one sample.

    Attributes:
        ids: tokens after the prompt or start token, the end token included if there was one, no padding.
        text: the same as text, special tokens left out.
        capped: whether the cap or a guard ended it, not an end token.
    """

    ids: tuple[int, ...]
    text: str
    capped: bool
