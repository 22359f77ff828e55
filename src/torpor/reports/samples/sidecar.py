"""The costliest attacked inputs of an audit, and how each was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.audits.conditions import RowKey
from torpor.core.errors import DataError
from torpor.core.files import require_file, texts_beside
from torpor.reports.kit.charts import CurvesOf, rows_of
from torpor.reports.kit.words import Row, costliest, quantity, times
from torpor.reports.samples.sample import Sample, Saved

if TYPE_CHECKING:
    import numpy as np

    from torpor.audits.curves import SampleCurve
    from torpor.reports.sections.base import Section

SLACK = 1e-9
"""Share of a cost by which rounding may move it."""
WIDTH, HEIGHT, EDGE = 240, 56, 4
"""Of the curve of one sample, and the space around it."""


def worst_samples(
    files: Mapping[Path, Row],
    section: Section,
    records: Mapping[str, np.ndarray],
    curves: CurvesOf = lambda row: [],
    seconds: Callable[[Row], list[float]] = lambda row: [],
    *,
    per_attack: int = 4,
    attacks: int = 4,
) -> list[Sample]:
    """Return the costliest saved samples of the costliest attacks at their costliest saved budgets.

    Args:
        files: files of examples, and the row of the summary that each is of.
        section: of the target's family.
        records: columns of ``records.parquet``.
        curves: of the samples of a row.
        seconds: that the search on each of them took.
        per_attack: samples of each attack.
        attacks: how many attacks.

    Raises:
        DataError: if a file of examples cannot be read.
    """
    tops = [_top(files, name) for name in dict.fromkeys(row["attack"] for row in files.values())]
    tops.sort(key=lambda top: -float(top[1]["slowdown_mean"]))
    found = list[Sample]()
    for path, row in tops[:attacks]:
        searched, taken = curves(row), seconds(row)
        known = {curve.sample: (place, curve) for place, curve in enumerate(searched)}
        for number, sample in _samples(path, row, section, records, per_attack):
            if number in known:
                place, curve = known[number]
                time = quantity(taken[place], "s") if len(taken) == len(searched) else ""
                sample = replace(sample, effort=effort(curve, time), curve=sketched(curve))
            found.append(sample)
    return found


def saved_files(summary: list[Row], path_of: Mapping[RowKey, Path]) -> dict[Path, Row]:
    """Return the files of undefended attacks that are there, and their rows."""
    rows = {RowKey.of(row): row for row in summary if row["kind"] == "attack" and row.get("slowdown_mean") is not None}
    return {path: rows[key] for key, path in path_of.items() if key in rows and key == key.undefended and path.exists()}


def _top(files: Mapping[Path, Row], attack: str) -> tuple[Path, Row]:
    own = {path: row for path, row in files.items() if row["attack"] == attack}
    top = costliest(list(own.values()), "attack")
    return next((path, row) for path, row in own.items() if row is top)


def _samples(
    path: Path, row: Row, section: Section, records: Mapping[str, np.ndarray], limit: int
) -> Iterator[tuple[int, Sample]]:
    """Yield samples with their index."""
    import pyarrow as pa
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    kind = str(section.target.get("inputs") or "image")
    try:
        stored: dict[str, Any] = load_file(require_file(path))
        if texts_beside(path).exists():
            from torpor.audits.texts import load_texts

            stored |= load_texts(path)
        index = stored["index"].tolist()
        found = {int(records["sample"][place]): int(place) for place in rows_of(records, row).nonzero()[0]}
        known = [place for place, sample in enumerate(index) if sample in found]
        known.sort(key=lambda place: -float(records["slowdown"][found[index[place]]]))
        for place in known[:limit]:
            at = found[index[place]]
            values = {name: column[place] for name, column in stored.items()}
            saved = Saved(row, records, at, _clean(records, index[place]), kind, values)
            yield int(index[place]), section.sample(saved)
    except (SafetensorError, pa.ArrowException, KeyError, OSError, IndexError) as error:
        raise DataError(f"expected index, clean and attacked in {path.name}, got {error}; audit again") from error


def _clean(records: Mapping[str, np.ndarray], sample: int) -> int:
    """Return the place of the clean record of a sample.

    Raises:
        DataError: if there is none.
    """
    places = ((records["sample"] == sample) & (records["attack"] == "clean")).nonzero()[0]
    if len(places) == 0:
        raise DataError(f"expected a clean record of sample {sample}, got none; audit again")
    return int(places[0])


def sketched(curve: SampleCurve) -> str:
    """Return the curve of one sample as SVG, passes on a logarithmic scale; trusted, since it is made of numbers.

    >>> from torpor.attacks.search.incumbent import Improvement
    >>> from torpor.audits.curves import SampleCurve
    >>> sketched(SampleCurve(0, 1.0, 1.0, 100, 0, (Improvement(10, 2.0),))).count("<path")
    1
    """
    from math import log

    last, top = max(2, curve.passes), max(curve.slowdown(curve.passes), 1.0)
    low = min(curve.own / curve.clean, 1.0)

    def x(passes: int) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * min(1.0, log(max(1, passes)) / log(last))

    def y(slowdown: float) -> float:
        share = (slowdown - low) / (top - low) if top > low else 0.0
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share

    path = f"M{x(1):.1f} {y(curve.own / curve.clean):.1f}"
    for point in curve.points:
        path += f"H{x(point.passes):.1f}V{y(point.cost / curve.clean):.1f}"
    said = f"best so far, from {times(curve.own / curve.clean)} to {times(top)}, against passes, 1 to {last:,}"
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>'
        f'<path d="{path}H{x(last):.1f}"/></svg>'
    )


def effort(curve: SampleCurve, seconds: str = "") -> str:
    """Say what the search on one sample spent, and when it found what.

    Args:
        curve: of the sample.
        seconds: what it took, in words; empty if that is not recorded.

    >>> from torpor.attacks.search.incumbent import Improvement
    >>> from torpor.audits.curves import SampleCurve
    >>> effort(SampleCurve(0, 1.0, 1.0, 60, 40, (Improvement(3, 2.0), Improvement(50, 5.0, "square"))))
    '100 passes (60 forward, 40 backward), 2.00x after 3, 5.00x after 50 by square'
    >>> effort(SampleCurve(0, 1.0, 1.0, 60, 40, (), 3.0))
    '100 passes (60 forward, 40 backward), nothing found; the input shown, 3.00x, is from another search'
    """
    spent = f"{curve.passes:,} passes ({curve.forwards:,} forward, {curve.backwards:,} backward)"
    spent += f" in {seconds}" if seconds else ""
    elsewhere = curve.cost is not None and curve.cost > curve.best(curve.passes) * (1 + SLACK)
    other = f"; the input shown, {times((curve.cost or 0.0) / curve.clean)}, is from another search" * elsewhere
    if not curve.points:
        return f"{spent}, nothing found{other}"
    ends = dict.fromkeys((curve.points[0], curve.points[-1]))
    found = [
        f"{times(point.cost / curve.clean)} after {point.passes:,}{' by ' * bool(point.member)}{point.member}"
        for point in ends
    ]
    return f"{spent}, {', '.join(found)}{other}"
