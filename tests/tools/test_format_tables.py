"""The documentation of the format is derived from the measures."""

from __future__ import annotations

from tools.format_tables import PAGE, written


def test_the_tables_of_the_format_are_those_of_the_measures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "run: python tools/format_tables.py"
