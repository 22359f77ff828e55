"""The docs page of the zoo says what the cards that ship say."""

from __future__ import annotations

from pathlib import Path

import pytest

from torpor.training.show import card_markdown, card_tables
from torpor.zoo.registry import ZOO

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"


@pytest.mark.parametrize("name", [entry.name for entry in ZOO.values() if entry.ships])
def test_page_holds_the_card(name: str) -> None:
    card = card_markdown(ZOO[name].card())
    assert card in PAGE.read_text(encoding="utf-8"), "run: python -m torpor.training.show > docs/zoo.md"


def test_tables_mark_the_thresholds_that_were_chosen() -> None:
    exits, thresholds, attacks, training = card_tables(ZOO["sdn-digits"].card())
    assert exits.row_count == 6
    chosen = "".join(str(cell) for cell in thresholds.columns[-1].cells)
    assert "drop:0.05" in chosen
    assert "drop:0.15" in chosen
    assert training.row_count > 5
    assert {str(cell) for cell in attacks.columns[3].cells} >= {"standard", "control-best-noise"}


def test_a_card_says_where_no_attacks_were_compared() -> None:
    card = {"name": "mine", "recipe": {}, "parameters": 3}
    (training,) = card_tables(card)
    assert "not compared on this target" in list(training.columns[1].cells)
