"""Write the tables of docs/audit-format.md from the measures that audits are made of.

python tools/format_tables.py          # rewrite the page
python tools/format_tables.py --check  # fail if it is not what it would be
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from torpor.core.measures import Measure, Points
from torpor.core.records import CERTIFIED, RECORD
from torpor.core.rows import ROW
from torpor.metrics.efficacy import CLASS, EXITS
from torpor.metrics.loops import LOOPS
from torpor.metrics.outputs import OBJECTS
from torpor.targets.endpoint.measures import OWN

PAGE = Path(__file__).parents[1] / "docs/audit-format.md"
FAMILIES = {"early-exit": (CLASS, *EXITS), "decoder": LOOPS, "endpoint-text": OWN, "detector": OBJECTS}
TYPES = {bool: "bool", int: "int64", float: "float64", str: "string", list: "list of int64", Points: "list of points"}


def rows(measures: Iterable[Measure]) -> str:
    """Return a table of keys of summary rows."""
    found = [
        f"| `{each.name}` | {each.dimension} | {each.help} | {each.null or 'never'} |"
        for each in measures
        if each.level == "row"
    ]
    return "\n".join(["| key | dimension | meaning | null |", "|---|---|---|---|", *found])


def columns(measures: Iterable[Measure]) -> str:
    """Return a table of columns of records."""
    found = [
        f"| `{each.name}` | {TYPES[each.dtype]} | {each.help} | {each.null or 'never'} |"
        for each in measures
        if each.level == "sample"
    ]
    return "\n".join(["| column | type | meaning | null |", "|---|---|---|---|", *found])


def tables() -> dict[str, str]:
    """Return every generated table by its name in the page."""
    found = {"rows": rows(ROW), "columns": columns(RECORD), "columns of bounds": columns(CERTIFIED)}
    for family, measures in FAMILIES.items():
        found |= {f"rows of {family}": rows(measures), f"columns of {family}": columns(measures)}
    return found


def written(page: str) -> str:
    """Return the page with its tables made anew.

    Raises:
        ValueError: if it lacks the place of a table.
    """
    for name, table in tables().items():
        start, end = f"<!-- table: {name} -->", "<!-- end -->"
        found = re.search(f"{re.escape(start)}.*?{re.escape(end)}", page, re.DOTALL)
        if found is None:
            raise ValueError(f"expected {start} in {PAGE}, got none; write it where the table belongs")
        page = f"{page[: found.start()]}{start}\n{table}\n{end}{page[found.end() :]}"
    return page


def main() -> int:
    """Rewrite the page, or compare it."""
    page = PAGE.read_text(encoding="utf-8")
    new = written(page)
    if "--check" in sys.argv[1:]:
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
