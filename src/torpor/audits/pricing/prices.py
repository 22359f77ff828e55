"""Prices by what a user types: the name of a pricing, or a price file."""

from __future__ import annotations

from pathlib import Path

from torpor.audits.pricing.price_files import SUFFIXES, read_price_file
from torpor.audits.read import SavedAudit, read_audit
from torpor.core.errors import UsageError, did_you_mean
from torpor.core.pricing import Pricing
from torpor.core.registry import MARK, Registry, is_path

PRICES: Registry[Pricing] = Registry(
    "torpor.prices",
    Pricing,  # type: ignore[type-abstract]
    {
        "flops": "torpor.core.pricing:Flops",
        "seconds": "torpor.core.time_prices:Seconds",
        "steps": "torpor.core.time_prices:SequentialSteps",
        "joules-45nm": "torpor.core.accelerator_prices:ZeroSkippingJoules",
    },
    "price",
)
"""Every pricing that has a name; plug-ins add theirs as entry points of the group ``torpor.prices``."""


def load_prices(text: str) -> Pricing:
    """Return a pricing: one by name, such as ``flops`` or a plug-in's, ``pkg.module:Class``, or that of a price file.

    Raises:
        UsageError: if there is none.

    >>> load_prices("flops")
    Flops()
    """
    if text.partition(MARK)[0] in PRICES or is_path(text):
        return PRICES.get(text)
    path = Path(text)
    if not path.exists() and path.suffix not in SUFFIXES:
        raise UsageError(
            f"expected a price file or the name of prices, got {text!r}; {did_you_mean(text, PRICES.names())}see: "
            "torpor list prices"
        )
    return read_price_file(path)


def read_priced(folder: Path, prices: str) -> SavedAudit:
    """Read a finished audit, under other prices.

    Args:
        folder: of the audit.
        prices: what :func:`load_prices` takes.

    Raises:
        UsageError: if there are no such prices, or some unit has none.
        DataError: if the audit cannot be read.
        IncompleteAudit: if it was interrupted.
    """
    from torpor.audits.pricing.repriced import repriced

    pricing = load_prices(prices)
    return repriced(read_audit(folder), pricing)
