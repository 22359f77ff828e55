"""Tables of the HTML report; each has only the columns that the kind of target has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torpor.audits.conditions import NON_ADAPTIVE
from torpor.core.budget import eps_text, scale_of
from torpor.core.measures import Measure
from torpor.core.rows import UNBOUND
from torpor.core.units import common_scale, symbol, unit_words
from torpor.reports.kit import words
from torpor.reports.kit.words import Row, loops_text, percent, quantity, steps_text, times


@dataclass
class Table:
    """A table of the report, filled row by row.

    Attributes:
        heads: (column title, explanation) of each column.
        body: (label, kind of row, cells).
        notes: reasons for the cells without a value, in the order of their numbers.
        hidden: titles of the columns that no row has, by reason.
    """

    heads: tuple[tuple[str, str], ...]
    body: list[tuple[str, str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hidden: dict[str, list[str]] = field(default_factory=dict)

    def cell(self, row: Row, key: str, form: Callable[[Any], str], null: str = "") -> str:
        """Return ``row[key]`` as text, or "not measured" with the number of the note that explains it."""
        if not words.is_missing(row.get(key)):
            return form(row[key])
        reason = words.reason_for(row, key, null) or "the audit gives no reason"
        if reason not in self.notes:
            self.notes.append(reason)
        return f"not measured ({self.notes.index(reason) + 1})"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: what stands above it.
        says: explanation of the title.
        key: of the summary row.
        form: how to write a value.
        only: makes the cell where more than one key is in it.
        optional: leave the column out where no row has a value.
        null: what a missing value means.
    """

    title: str
    says: str
    key: str = ""
    form: Callable[[Any], str] = str
    only: Callable[[Table, Row], str] | None = None
    optional: bool = False
    null: str = ""

    def cell(self, table: Table, row: Row) -> str:
        """Return the text of one cell."""
        return table.cell(row, self.key, self.form, self.null) if self.only is None else self.only(table, row)


def form_of(measure: Measure) -> Callable[[Any], str]:
    """Return how to write a value of a measure."""
    forms: dict[str, Callable[[Any], str]] = {
        "ratio": percent,
        "percent": loops_text,
        "count": steps_text,
        "time": lambda value: quantity(value, "s"),
        "energy": lambda value: quantity(value, "J"),
        "memory": lambda value: quantity(value, "B"),
    }
    return forms.get(measure.dimension, "{:.3g}".format if measure.numeric else str)


def cost_table(audit: Row, own: Sequence[Column]) -> Table:
    """Return the main table, the columns that matter most first: what every row cost, and what became of the output.

    Args:
        audit: its parts.
        own: columns of the target's family.
    """
    summary, unit = audit["summary"], symbol(str(audit.get("currency") or "flops"))
    flags = list(dict.fromkeys(flag for row in summary for flag in row["flags"]))
    columns = [
        Column("flags", "numbers of the list below", only=lambda _, row: _numbers(row, flags)),
        Column("mean slowdown [95 % CI]", f"cost ({unit}) over the same sample's clean cost", only=_mean_slowdown),
        *(Column(name, f"slowdown, {name}", f"slowdown_{name}", times) for name in ("p95", "max")),
        Column("headroom", "(cost - clean) / (static bound - clean)", "headroom_mean", percent),
        *own,
    ]
    return filled(columns, summary)


def spread_table(audit: Row) -> Table:
    """Return how cost is spread, what it is in absolute numbers, all on one scale, and what bounds allow."""
    summary = audit["summary"]
    keys, own = ("cost_mean", "cost_static"), symbol(str(audit.get("currency") or "flops"))
    scale, unit = common_scale((row.get(key) for row in summary for key in keys), own)

    def scaled(value: float) -> str:
        return f"{value / scale:,.4g}"

    says = f"in {unit_words(unit)}"
    columns = [
        Column("n", "how many samples", "n"),
        *(Column(f"slowdown, {name}", f"{name} of the samples", f"slowdown_{name}", times) for name in ("p50", "p99")),
        Column("bill", "mean cost over mean clean cost: the ratio of the means", only=_bill),
        Column(f"mean cost ({unit})", says, "cost_mean", scaled),
        Column(f"static bound ({unit})", f"{says}, of the costliest input", "cost_static", scaled),
        *_certified_columns(summary),
    ]
    return filled(columns, summary)


def _bill(table: Table, row: Row) -> str:
    ratio = words.over_clean(row)
    return table.cell(row, "cost_clean_mean", str) if ratio is None else times(ratio)


def _certified_columns(summary: Sequence[Row]) -> list[Column]:
    """Return what bounds allow beside what was found; nothing where no bound was asked for."""
    if all(row.get("certified_reason") in (None, UNBOUND) and words.at_most(row) is None for row in summary):
        return []
    says = "what no attack of the row's budget exceeds, proven by a bound"
    return [
        Column("mean slowdown, at most", says, "certified_slowdown_mean", times),
        Column("slowdown max, at most", says, "certified_slowdown_max", times),
        Column("at most over found", "mean certified cost over mean cost; 1 is the worst case", "certified_gap", times),
    ]


def clock_table(audit: Row) -> Table:
    """Return what was measured on the device."""
    says = "batch of 1, clean and attacked interleaved"
    columns = [
        Column("latency, median [95 % CI]", says, "latency_s_p50", only=_latency, optional=True),
        Column("latency slowdown", says, "latency_slowdown", times, optional=True),
        Column("clock", says, "latency_valid", only=_clock, optional=True),
        Column("energy", says, "energy_j", lambda value: quantity(value, "J"), optional=True),
        Column("memory", says, "memory_bytes", lambda value: quantity(value, "B"), optional=True),
    ]
    return filled(columns, audit["summary"])


def effort_table(audit: Row) -> Table:
    """Return how far the inputs are from the clean ones, and what the attacks spent.

    Who does not know of a defense sends what was crafted without it, at no further effort: such rows are left out.
    """
    rows = [row for row in audit["summary"] if row["kind"] != "clean" and row.get("attacker") != NON_ADAPTIVE]
    texts = any(not words.is_missing(row.get("edits_mean")) for row in rows)
    scale = "in the unit of the budget; similarity in characters" if texts else scale_of(audit["target"].get("inputs"))
    says = f"distances: {scale}; effort: all samples together"
    numbers = [
        Column("Linf, max", says, "linf_max", lambda value: eps_text("Linf", value)),
        Column("L2, mean", says, "l2_mean", _three_digits),
        Column("L1, mean", says, "l1_mean", _three_digits),
    ]
    counts = [
        Column("edits, mean", says, "edits_mean", "{:.3g}".format),
        Column("similarity, mean", says, "similarity_mean", percent),
    ]
    effort = [
        Column("forward passes", says, "forwards", "{:,}".format),
        Column("backward passes", says, "backwards", "{:,}".format),
        Column("attack time", says, "attack_seconds", lambda value: quantity(value, "s")),
        Column("passes per sample", "forward and backward, mean", only=_passes),
        Column("time per sample", "attack time over the number of samples", only=_seconds),
    ]
    return filled([*(counts if texts else numbers), *effort], rows)


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Return a table without the optional columns that no row has."""
    shown, hidden = list[Column](), dict[str, list[str]]()
    for column in columns:
        if column.optional and all(words.is_missing(row.get(column.key)) for row in rows):
            for row in rows[:1]:
                hidden.setdefault(words.missing(words.reason_for(row, column.key, column.null)), []).append(
                    column.title
                )
        else:
            shown.append(column)
    table = Table(tuple((column.title, column.says) for column in shown), hidden=hidden)
    for row in rows:
        table.body.append((words.label(row), row["kind"], [column.cell(table, row) for column in shown]))
    return table


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _mean_slowdown(table: Table, row: Row) -> str:
    return f"{table.cell(row, 'slowdown_mean', times)} {words.bracket(row)}".strip()


def _latency(table: Table, row: Row) -> str:
    text, ci95 = table.cell(row, "latency_s_p50", lambda value: quantity(value, "s")), row.get("latency_ci95")
    if ci95 is None:
        return f"{text} [-]" if row.get("latency_n") == 1 else text
    return f"{text} [{quantity(ci95[0], 's')} to {quantity(ci95[1], 's')}]"


def _passes(table: Table, row: Row) -> str:
    if words.is_missing(row.get("forwards")) or words.is_missing(row.get("backwards")) or not row.get("n"):
        return table.cell(row, "forwards", str)
    return f"{(row['forwards'] + row['backwards']) / row['n']:,.0f}"


def _seconds(table: Table, row: Row) -> str:
    n = row.get("n") or 1
    return table.cell(row, "attack_seconds", lambda value: quantity(value / n, "s"))


def _clock(table: Table, row: Row) -> str:
    text = table.cell(row, "latency_valid", lambda valid: "VALID" if valid else "INVALID")
    reason = row.get("latency_reason")
    return f"{text}: {reason}" if row.get("latency_valid") is False and reason else text


def _numbers(row: Row, flags: Sequence[str]) -> str:
    return ", ".join(str(flags.index(flag) + 1) for flag in row["flags"]) or "none"
