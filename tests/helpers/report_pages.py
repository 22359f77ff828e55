"""Pages that reports are, read as elements."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from torpor.reports.html import write_report

SECTIONS = ("verdict", "results", "charts", "samples", "clock", "threat", "environment", "reproduce")
"""Sections of a report, in their order."""


class Elements(HTMLParser):
    """The elements of a page, its text outside scripts and styles, and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.tags}


def page_of(folder: Path) -> Elements:
    """Write the report of an audit and return its elements."""
    return Elements(write_report(folder).read_text(encoding="utf-8"))
