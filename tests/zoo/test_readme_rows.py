"""The README's table of the zoo says what the cards that ship say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torpor.zoo.registry import ZOO

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", [entry.name for entry in ZOO.values() if entry.ships])
def test_readme_row_is_the_card(name: str) -> None:
    card: dict[str, Any] = ZOO[name].card()
    accuracy = card["accuracy_per_exit"]["test"]
    row = next(line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    wanted = [f"{share:.2%}" for share in (accuracy[-1], accuracy[0])] + [f"{card['cost_per_exit'][0]:.1%}"]
    assert [cell.replace(" ", "") for cell in cells[3:6]] == wanted
    assert int(cells[6]) == len(accuracy)
