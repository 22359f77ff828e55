"""Price files of endpoints: read, checked, and the same after an audit as before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from torpor.audits.pricing.price_files import read_price_file
from torpor.core.errors import DataError
from torpor.targets.endpoint.prices import TokenPrices, read_token_prices

GOOD = """
name = "dollars at a provider"
date = 2026-11-28
source = "its page of prices"
[per_million]
prompt = 2.0
cached = 0.5
output = 8.0
reasoning = 10.0
request = 1000.0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "prices.toml"
    path.write_text(text)
    return path


def test_tokens_of_each_kind_cost_what_the_file_says(tmp_path: Path) -> None:
    prices = read_token_prices(written(tmp_path, GOOD))
    cost = prices.cost(100, 50, cached=40, reasoning=20)
    assert cost == pytest.approx((60 * 2 + 40 * 0.5 + 30 * 8 + 20 * 10 + 1000) / 1e6)
    assert (prices.date, prices.currency) == ("2026-11-28", "dollars")


def test_the_same_file_prices_a_finished_audit(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    found = read_price_file(path)
    assert found.prices == read_token_prices(path).of_units()
    assert found.origin == "2026-11-28, its page of prices"


def test_tokens_alone_are_counted_once() -> None:
    assert TokenPrices.tokens().cost(100, 50, cached=40, reasoning=20, calls=3) == 150


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("date = 2026-11-28", ""), "the date of the prices"),
        (("date = 2026-11-28", 'date = "soon"'), "the date of the prices"),
        (("prompt = 2.0", ""), "a price of prompt"),
        (("output = 8.0", 'output = "8"'), "a number for output"),
        (("output = 8.0", "output = -8.0"), "a price of 0 or more for output"),
        (("output = 8.0", "output = nan"), "a price of 0 or more for output"),
        (("cached = 0.5", "cached = 5.0"), "cached tokens to cost at most"),
        (("reasoning = 10.0", "reasoning = 1.0"), "reasoning to cost at least"),
        (("request = 1000.0", "images = 1"), "got 'images'"),
        (("[per_million]", "[per_thousand]"), "per_million"),
        (('name = "dollars at', 'name = "euros at'), "begins with 'dollars'"),
        (("date", "["), "a price file"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected .*") as error:
        read_token_prices(written(tmp_path, GOOD.replace(*change, 1)))
    assert said in str(error.value)
    assert "prices.toml" in str(error.value)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a price file in .*none\.toml, got none \(No such file or directory\); see"):
        read_token_prices(tmp_path / "none.toml")
