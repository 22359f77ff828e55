"""Price files: TOML or JSON with what one run of each unit costs."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor.core.errors import DataError, UsageError
from torpor.core.files import unread
from torpor.core.pricing import Pricing
from torpor.core.work import PriceList

KEYS = ("name", "date", "source", "prices")
SUFFIXES = (".toml", ".json")
TABLE = "per_million"
"""A table that stands in the place of ``prices`` where an endpoint's tokens are priced."""
CURRENCY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""A currency is part of the name of a file and of what gates may write."""


@dataclass(frozen=True)
class PriceFile(Pricing):
    """What a price file holds.

    Attributes:
        name: of the price list; its first word is the currency.
        prices: of one run of each unit, by its name.
        date: of the prices; empty if the file has none.
        source: where they are from; empty likewise.
        path: of the file, for messages.

    >>> tokens = PriceFile("tokens", {"prompt_token": 0.0, "decoder_step": 1.0})
    >>> tokens.price_list(["decoder_step"], PriceList("flops", (1000.0,))).per_unit
    (1.0,)
    """

    name: str
    prices: Mapping[str, float]
    date: str = ""
    source: str = ""
    path: Path = Path("prices.toml")

    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        """See :meth:`Pricing.price_list`; units that the audit does not have may have prices too."""
        wanted = list(dict.fromkeys(units))
        if missing := [unit for unit in wanted if unit not in self.prices]:
            raise UsageError(
                f"expected prices of {', '.join(wanted)}, got none of {', '.join(missing)} in {self.path}; add "
                f"{'it' if len(missing) == 1 else 'them'}"
            )
        return PriceList(self.name, tuple(self.prices[unit] for unit in units))

    @property
    def origin(self) -> str:
        """Date and source, as far as they are known."""
        return ", ".join(part for part in (self.date, self.source) if part)


def read_price_file(path: Path) -> PriceFile:
    r"""Read a price file: JSON if its name ends in ``.json``, else TOML.

    Raises:
        DataError: if it cannot be read, or holds other keys or values than a price file has.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "prices.toml")
    ...     _ = path.write_text('name = "dollars at a provider"\n[prices]\ndecoder_step = 2e-6\n')
    ...     read_price_file(path).prices
    {'decoder_step': 2e-06}
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # ValueError covers TOML, JSON and UTF-8
        raise DataError(
            f"expected a price file in {path}, got {unread(error)}; see the guide to prices for what it holds"
        ) from error
    if not isinstance(raw, dict):
        raise DataError(
            f"expected the keys name and prices in {path}, got {type(raw).__name__}; see the guide to prices"
        )
    if TABLE in raw:
        return _of_tokens(raw, path)
    if unknown := [key for key in raw if key not in KEYS]:
        raise DataError(f"expected the keys {', '.join(KEYS)} in {path}, got {unknown[0]!r}; remove it")
    name = raw.get("name")
    if not (isinstance(name, str) and CURRENCY.fullmatch(name.split(" ")[0])):
        raise DataError(
            f"expected a name that starts with a currency in {path}, such as 'seconds on 2-core CPU', got {name!r}; "
            "correct it"
        )
    return PriceFile(
        name, _prices(raw.get("prices"), path), _said(raw.get("date"), path), _said(raw.get("source"), path), path
    )


def _of_tokens(raw: Mapping[str, Any], path: Path) -> PriceFile:
    """Return the prices of an endpoint's units, from dollars per million tokens of each kind."""
    from torpor.targets.endpoint.prices import token_prices

    found = token_prices(raw, path)
    return PriceFile(found.name, found.of_units(), found.date, found.source, path)


def _prices(raw: object, path: Path) -> dict[str, float]:
    if not isinstance(raw, dict) or not raw:
        raise DataError(f"expected a table of prices by unit in {path}, got {raw!r:.60}; add [prices]")
    for unit, price in raw.items():
        right = isinstance(price, int | float) and not isinstance(price, bool) and 0 <= price <= 1e100
        if not (right and math.isfinite(price)):
            raise DataError(f"expected a finite price of 0 or more for {unit} in {path}, got {price!r:.60}; correct it")
    return {unit: float(price) for unit, price in raw.items()}


def _said(raw: object, path: Path) -> str:
    """Return a text, or a date as TOML has it, as a text."""
    if isinstance(raw, dict | list):
        raise DataError(f"expected a text as date and source in {path}, got {raw!r:.60}; correct it")
    return "" if raw is None else str(raw)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, in which no key may stand twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} twice")
        found[key] = value
    return found
