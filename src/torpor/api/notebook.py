"""How a notebook shows an audit: the verdict, and the table that the console prints."""

from __future__ import annotations

import html
from collections.abc import Iterable

from torpor.audits.integrity import remarks
from torpor.audits.read import SavedAudit
from torpor.reports.console import summary_table, verdict_line
from torpor.reports.kit.printable import printable, printable_parts


def audit_html(audit: SavedAudit) -> str:
    """Return an audit as HTML in which all text of others is escaped.

    Args:
        audit: to be shown.
    """
    parts = printable_parts(audit.parts())
    table = summary_table(parts)
    heads = _cells("th", (str(column.header) for column in table.columns))
    lines = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(_cells("td", map(str, line)) for line in lines)
    said = [printable(verdict_line(parts)), *(printable(remark) for remark in remarks(audit))]
    above = "".join(f"<p>{_text(line)}</p>" for line in said)
    return f"{above}<table><thead>{heads}</thead><tbody>{body}</tbody></table><p>{_text(str(table.caption or ''))}</p>"


def _cells(tag: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(text)}</{tag}>' for text in texts)}</tr>"


def _text(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
