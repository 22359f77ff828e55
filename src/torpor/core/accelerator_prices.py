"""Joules of an accelerator that skips zeros, in 45 nm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.pricing import Pricing
from torpor.core.work import PriceList

MACS, WORDS = "_macs", "_words"
"""Ends of the names of units: multiply-adds of a layer, and words that it reads."""
IMAGE, WEIGHTS, SCORES = "image_words", "weight_words", "score_words"
"""Units of words that no layer hands to another one: they cross the memory bus once, weights once per batch."""

JOULES_PER_WORD, JOULES_PER_OPERATION = 1950e-12, 3.7e-12
"""Of a word of 32 bits from or to DRAM, and of a multiply-add in floating point, in 45 nm."""
FLOPS_PER_OPERATION = 2


@dataclass(frozen=True)
class ZeroSkippingJoules(Pricing):
    """Energy of an accelerator that neither moves nor multiplies zeros, at the prices of the sponge paper.

    Only activations are skipped, and every count is exact: the paper multiplies all operations by the shares of
    activations and weights that are not zero. An activation that a layer reads was written by the one before, so it
    crosses the memory bus twice. Weights are read once per batch, and each sample of it pays its part.

    Shumailov et al., "Sponge Examples", IEEE EuroS&P 2021.

    Attributes:
        batch: samples that share one reading of the weights.

    >>> own = PriceList("flops", (2.0, 0.0, 0.0))
    >>> prices = ZeroSkippingJoules(batch=10).price_list(["conv_macs", "conv_words", "weight_words"], own)
    >>> [round(price * 1e12, 1) for price in prices.per_unit]  # picojoules
    [3.7, 3900.0, 195.0]
    """

    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"expected a batch of 1 sample or more, got {self.batch}")

    @override
    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        """Return joules per unit.

        Raises:
            UsageError: if the audit is not of an accelerator that skips zeros, or a defense adds units.
        """
        if unknown := [name for name in dict.fromkeys(units) if not name.endswith((MACS, WORDS))]:
            raise UsageError(
                f"expected multiply-adds and words of a zero-skipping accelerator, got {', '.join(unknown)}; pass a "
                "price file"
            )
        prices = [self._price(name, flops) for name, flops in zip(units, own.per_unit, strict=True)]
        return PriceList(f"joules on a 45 nm accelerator, batch {self.batch}", tuple(prices))

    def _price(self, unit: str, flops: float) -> float:
        if unit.endswith(MACS):
            return JOULES_PER_OPERATION * flops / FLOPS_PER_OPERATION
        if unit == WEIGHTS:
            return JOULES_PER_WORD / self.batch
        return JOULES_PER_WORD * (1 if unit in (IMAGE, SCORES) else 2)

    @property
    @override
    def origin(self) -> str:
        return "1,950 pJ per word of DRAM, 3.7 pJ per multiply-add: sponge examples, EuroS&P 2021"
