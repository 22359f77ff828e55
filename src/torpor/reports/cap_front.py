"""The Pareto front of a search for caps, as an SVG file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torpor.reports.kit.plots import CLEAN, COLORS, CONTROL, FONT, REFERENCE
from torpor.reports.kit.printable import printable

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 56
TICKS = 5
Place = tuple[float, float]


def front_svg(found: Mapping[str, Any], limit: float | None = None) -> str:
    """Draw what each choice of caps loses in utility, and what an attacker gets through it; natural inputs are hollow.

    Args:
        found: what :meth:`CapRecommendation.to_json` returns.
        limit: of the attacked quantity, in its own unit; None if there is none.

    >>> row = {"caps": "none", "utility_loss": 0.0, "natural": 1.0, "attacked": 3.0, "front": True, "chosen": True}
    >>> picture = front_svg({"caps": [row], "quantity": "p99(cost)", "unit": "x", "utility_name": "accuracy"}, 2.0)
    >>> picture.startswith("<svg"), picture.count("<circle")
    (True, 2)
    """
    rows = [row for row in found["caps"] if row["attacked"] is not None]
    heights = [row[name] for row in rows for name in ("natural", "attacked")] + ([] if limit is None else [limit])
    losses = [row["utility_loss"] for row in rows]
    across = _scale(min([0.0, *losses]), max([0.0, *losses]), LEFT, WIDTH - RIGHT)
    up = _scale(0.0, max([0.0, *heights]), HEIGHT - BOTTOM, TOP)

    def at(row: Mapping[str, Any], name: str) -> Place:
        return across(row["utility_loss"]), up(row[name])

    front = sorted((row for row in rows if row["front"]), key=lambda row: (row["utility_loss"], -row["attacked"]))
    parts = list(_axes(across, up, found))
    if limit is not None:
        parts.append(_line([(LEFT, up(limit)), (WIDTH - RIGHT, up(limit))], REFERENCE, "2 3"))
        parts.append(_text(WIDTH - RIGHT, up(limit) - 5, "limit", "end"))
    parts.append(_line([at(row, "attacked") for row in front], COLORS[0], ""))
    for row in sorted(rows, key=lambda row: (row["chosen"], row["front"])):
        color = COLORS[1] if row["chosen"] else COLORS[0] if row["front"] else CONTROL
        costs = f"natural {row['natural']:.4g}, attacked {row['attacked']:.4g}"
        said = f"{row['caps']}: loss {row['utility_loss']:.4f}, {costs}"
        parts.append(_dot(at(row, "natural"), color, said, hollow=True))
        parts.append(_dot(at(row, "attacked"), color, said))
    for row in rows:
        if row["chosen"] or row["caps"] == "none":
            x, y = at(row, "attacked")
            parts.append(_text(x + 9, y - 7, row["caps"], "start"))
    title = f"{found['quantity']} under attack against the loss of {found['utility_name']}, for each choice of caps"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="{html.escape(FONT)}" font-size="12" fill="{CLEAN}"><title>{_safe(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


class _Axis:
    """Maps values to places."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1.0
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        return self.begin + (self.end - self.begin) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> Iterable[float]:
        return (self.low + (self.high - self.low) * step / TICKS for step in range(TICKS + 1))


def _scale(low: float, high: float, begin: float, end: float) -> _Axis:
    room = 0.05 * (high - low)
    return _Axis(low - room if low < 0 else low, high + room, begin, end)


def _axes(across: _Axis, up: _Axis, found: Mapping[str, Any]) -> Iterable[str]:
    for tick in up.ticks():
        yield _line([(LEFT, up(tick)), (WIDTH - RIGHT, up(tick))], "#e5e7eb", "")
        yield _text(LEFT - 8, up(tick) + 4, f"{tick:.3g}", "end")
    for tick in across.ticks():
        yield _text(across(tick), HEIGHT - BOTTOM + 18, f"{tick:.3g}", "middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, f"loss of {found['utility_name']} (mean)", "middle")
    yield _text(LEFT, TOP - 8, f"{found['quantity']} ({found['unit']}); hollow: natural inputs", "start")


def _line(points: Sequence[Place], color: str, dash: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="1.5" stroke-dasharray="{dash}"/>'


def _dot(place: Place, color: str, said: str, *, hollow: bool = False) -> str:
    x, y = place
    fill = "#fff" if hollow else color
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{color}" stroke-width="1.5">'
        f"<title>{_safe(said)}</title></circle>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    return html.escape(printable(text))
