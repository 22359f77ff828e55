"""The architecture page says what the import contract holds; ``make lint`` holds the contract itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_has_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    stated = [{name for layer, name in rows if int(layer) == number} for number in range(1, len(layers) + 1)]
    assert stated == [set(layer.split(" | ")) for layer in reversed(layers)]
    assert sum(map(len, stated)) == len(rows)
