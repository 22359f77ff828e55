"""Every sample of an audit, in files beside its report that a browser loads when somebody looks.

They are scripts, not JSON, since a page that was opened from a disk may load no other files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.audits.conditions import RowKey
from torpor.core.errors import DataError
from torpor.core.files import require_file, texts_beside
from torpor.core.units import common_scale, symbol
from torpor.reports.kit.charts import CurvesOf, rows_of
from torpor.reports.kit.words import Row, costliest, label, quantity
from torpor.reports.samples.sample import Sample, Saved, effort, sketched

if TYPE_CHECKING:
    import numpy as np

    from torpor.reports.sections.base import Section

COUNTS = ("exit", "steps", "kept")
"""Columns of the families that the table of samples shows, where there are such."""
MARKS = {
    "rejected": "rejected",
    "capped": "ended by the cap",
    "zero_gradient": "zero gradient",
    "surrogate_diverged": "surrogate diverged",
    "black_box_won": "black box won",
}
"""Columns that are true of some samples, in words."""
COLUMNS = ("work", "utility", *(name for name in MARKS if name != "capped"), "found_through")
"""Columns of the records that the table of samples needs on top of those of the charts."""
INLINE = 120_000
"""Characters of the drawings that stand in the page itself."""


@dataclass(frozen=True, eq=False)
class SavedInputs:
    """What an audit saved of attacked inputs, ready to be shown.

    Attributes:
        files: of examples, and the row of the summary that each is of.
        section: of the target's family.
        records: columns of ``records.parquet``.
        curves: of the samples of a row.
        seconds: that the search on each of them took.
    """

    files: Mapping[Path, Row]
    section: Section
    records: Mapping[str, np.ndarray]
    curves: CurvesOf = lambda row: []
    seconds: Callable[[Row], list[float]] = lambda row: []

    def of(self, path: Path, limit: int | None = None) -> Iterator[tuple[int, Sample]]:
        """Yield the index and the sample of each input in a file, the costliest first.

        Args:
            path: one of ``files``.
            limit: samples at most.

        Raises:
            DataError: if the file cannot be read.
        """
        row = self.files[path]
        searched, taken = self.curves(row), self.seconds(row)
        known = {curve.sample: (place, curve) for place, curve in enumerate(searched)}
        for number, sample in _samples(path, row, self.section, self.records, limit):
            if number in known:
                place, curve = known[number]
                time = quantity(taken[place], "s") if len(taken) == len(searched) else ""
                unit = symbol(str(self.section.audit.get("currency") or "flops"))
                sample = replace(sample, effort=effort(curve, time, unit), curve=sketched(curve))
            yield number, sample

    def costliest(self, per_attack: int = 4, attacks: int = 4) -> list[Sample]:
        """Return samples of the costliest undefended attacks at their costliest budgets, as many as fit into the page.

        Args:
            per_attack: samples of each attack at most.
            attacks: how many at most.

        Raises:
            DataError: if a file cannot be read.
        """
        own = {path: row for path, row in self.files.items() if row["kind"] == "attack" and row["defense"] == "none"}
        tops = [_top(own, name) for name in dict.fromkeys(row["attack"] for row in own.values())]
        tops.sort(key=lambda top: -float(top[1]["slowdown_mean"]))
        found, room = list[Sample](), INLINE
        for path, _ in tops[:attacks]:
            for _, sample in self.of(path, per_attack):
                size = sum(len(uri) for _, uri in sample.views)
                if size > room:
                    break
                room -= size
                found.append(sample)
        return found


def saved_files(summary: Sequence[Row], path_of: Mapping[RowKey, Path]) -> dict[Path, Row]:
    """Return the files of saved inputs that are there, and their rows."""
    rows = {RowKey.of(row): row for row in summary if row["kind"] != "clean" and row.get("slowdown_mean") is not None}
    return {path: rows[key] for key, path in path_of.items() if key in rows and path.exists()}


def contents(audit: Row, records: Mapping[str, np.ndarray], stamp: str, folder: str) -> dict[str, Any]:
    """Return what the page knows before it loads anything: rows, units, and what may be filtered by.

    Args:
        audit: its parts.
        records: columns of ``records.parquet``.
        stamp: that the files carry too, so that a page takes none of another report.
        folder: where they are, beside the page.
    """
    names = {each.name: each.title for each in audit.get("measures") or () if each.level == "sample"}
    units = audit.get("units") or {}
    rows = [
        {
            "slug": RowKey.of(row).slug,
            "label": label(row),
            "kind": row["kind"],
            "flags": list(row["flags"]),
            "units": [unit["name"] for unit in units.get(row.get("defense") or "none", units.get("none", ()))],
        }
        for row in audit["summary"]
    ]
    counts = {name: names.get(name, name) for name in COUNTS if name in records}
    worst = costliest([row for row in audit["summary"] if row["defense"] == "none"], "attack")
    first = next((place for place, row in enumerate(audit["summary"]) if row is worst), 0)
    clean = next((place for place, row in enumerate(audit["summary"]) if row["kind"] == "clean"), 0)
    costs = (row.get(key) for row in audit["summary"] for key in ("cost_mean", "cost_static"))
    scale, unit = common_scale(costs, symbol(str(audit.get("currency") or "flops")))
    return {
        "stamp": stamp,
        "folder": folder,
        "rows": rows,
        "counts": counts,
        "first": first,
        "clean": clean,
        "scale": scale,
        "unit": unit,
    }


def index_of(row: Row, records: Mapping[str, np.ndarray], saved: Sequence[int]) -> dict[str, Any]:
    """Return every sample of a row, column by column.

    Args:
        row: of the summary.
        records: columns of ``records.parquet``.
        saved: which samples have saved inputs.
    """
    places = rows_of(records, row).nonzero()[0]
    own = {name: [_plain(value) for value in column[places]] for name, column in records.items()}
    kept = ("sample", "slowdown", "cost", "cost_clean", "cost_static", "utility", "work")
    found = {name: own[name] for name in (*kept, *COUNTS) if name in own}
    at_bound = [
        cost >= most if most is not None else False for cost, most in zip(own["cost"], own["cost_static"], strict=True)
    ]
    marks = [["at the static bound"] if holds else [] for holds in at_bound]
    for place, said in enumerate(marks):
        said += [] if own["agreement"][place] else ["output changed"]
        said += [words for name, words in MARKS.items() if name in own and own[name][place]]
        if through := own.get("found_through", [None] * len(marks))[place]:
            said.append(f"found through {through}")
    return {**found, "marks": marks, "saved": list(saved)}


def script(name: str, stamp: str, content: object) -> str:
    """Return a file that hands ``content`` to the page; whatever is in it, it is data to every browser.

    >>> script("0", "ab", ["</script>"]).count("<")
    0
    """
    return f"torporSamples({', '.join(map(embedded, (name, stamp, content)))});\n"


def embedded(content: object) -> str:
    """Return JSON that can stand in a script of a page."""
    text = json.dumps(content, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """Return a value as JSON has it, numbers with six digits."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _top(files: Mapping[Path, Row], attack: str) -> tuple[Path, Row]:
    own = {path: row for path, row in files.items() if row["attack"] == attack}
    top = costliest(list(own.values()), "attack")
    return next((path, row) for path, row in own.items() if row is top)


def _samples(
    path: Path, row: Row, section: Section, records: Mapping[str, np.ndarray], limit: int | None
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
