"""Work: how often each unit ran for each sample. Exact, deterministic, independent of hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import UsageError


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
