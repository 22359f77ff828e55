"""Tables of the HTML report; each has only the columns that the kind of target has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torpor.core.budget_text import eps_text, scale_of
from torpor.reports import words
from torpor.reports.words import Row, loops_text, percent, quantity, steps_text, times


@dataclass
class Table:
    """A table of the report, filled row by row.

    Attributes:
        heads: (column title, explanation) of each column.
        body: (label, kind of row, cells).
        notes: reasons for the cells without a value, in the order of their numbers.
        hidden: columns that no row has, each with the reason.
    """

    heads: tuple[tuple[str, str], ...]
    body: list[tuple[str, str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)

    def cell(self, row: Row, key: str, form: Callable[[Any], str]) -> str:
        """Return ``row[key]`` as text, or "not measured" with the number of the note that says why."""
        if not words.is_missing(row.get(key)):
            return form(row[key])
        reason = words.reason_for(row, key) or "the audit gives no reason"
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
    """

    title: str
    says: str
    key: str = ""
    form: Callable[[Any], str] = str
    only: Callable[[Table, Row], str] | None = None
    optional: bool = False

    def cell(self, table: Table, row: Row) -> str:
        """Return the text of one cell."""
        return table.cell(row, self.key, self.form) if self.only is None else self.only(table, row)


def cost_table(audit: Row) -> Table:
    """Return the main table: what every row cost, and what became of the output."""
    summary = audit["summary"]
    flags = list(dict.fromkeys(flag for row in summary for flag in row["flags"]))
    utility = next((str(row["utility_name"]) for row in summary if row.get("utility_name")), "utility")
    loops, finds = words.iterates(summary), words.finds(summary)
    columns = [
        Column("n", "how many samples", "n"),
        Column("mean slowdown [95 % CI]", "FLOPs over the same sample's clean FLOPs", only=_mean_slowdown),
        *(Column(name, f"slowdown, {name}", f"slowdown_{name}", times) for name in ("p50", "p95", "p99", "max")),
        Column("headroom", "(cost - clean) / (static bound - clean)", "headroom_mean", percent),
        Column("mean cost", "2 FLOPs per multiply-add", "flops_mean", _flops),
        *(_loop_columns(audit) if loops else ()),
        *(_OBJECT_COLUMNS if finds else ()),
        Column(utility, "mean over samples" if loops else "on the same inputs", "utility", percent, optional=loops),
        Column("agreement", "share of predictions that equal the clean one", "agreement", percent),
        *(() if loops or finds else _EXIT_COLUMNS),
        Column("flags", "numbers of the list below", only=lambda _, row: _numbers(row, flags)),
    ]
    return filled(columns, summary)


def steps_table(audit: Row) -> Table | None:
    """Return what the attacks did to the number of decoder steps; None for targets that do not iterate."""
    summary = audit["summary"]
    if not words.iterates(summary):
        return None
    cap, cap4 = (next((row[key] for row in summary if row.get(key)), "?") for key in ("cap", "cap4"))
    beside = f"{cap4} steps, the same saved inputs"
    columns = [
        Column("steps, clean", "mean decoder steps, end token counted", "steps_clean_mean", steps_text),
        Column("steps, attacked", "mean decoder steps, end token counted", "steps_mean", steps_text),
        Column(f"I-Loops, mean (cap {cap})", "increase of a sample's steps in per cent", "i_loops_mean", loops_text),
        Column("I-Loops, max", "of one sample", "i_loops_max", loops_text),
        Column("I-Loops, limit", "what the cap allows", "i_loops_limit", loops_text),
        Column("tokens, ratio of means", "mean steps over mean clean steps", "token_ratio_of_means", times),
        Column("tokens, mean of ratios", "mean over samples of steps over clean steps", "token_mean_of_ratios", times),
        Column("cap hits, clean", "share of clean outputs that the cap ended", "cap_hit_rate_clean", percent),
        Column("cap hits", "share of outputs that the cap ended", "cap_hit_rate", percent),
        Column("OGF", "mean steps over the length of context", "ogf_mean", "{:.3f}".format, optional=True),
        Column("inputs run again", "saved inputs, run with the higher cap", "cap4_n"),
        Column(f"I-Loops (cap {cap4})", beside, "cap4_i_loops_mean", loops_text),
        Column(f"cap hits (cap {cap4})", beside, "cap4_hit_rate", percent),
    ]
    return filled(columns, summary)


def clock_table(audit: Row) -> Table:
    """Return what the device's meters say."""
    says = "batch of 1, clean and attacked interleaved"
    columns = [
        Column("latency, median [95 % CI]", says, only=_latency),
        Column("latency slowdown", says, "latency_slowdown", times),
        Column("clock", says, only=_clock),
        Column("energy", says, "energy_j", lambda value: quantity(value, "J")),
        Column("memory", says, "memory_bytes", lambda value: quantity(value, "B")),
    ]
    return filled(columns, audit["summary"])


def effort_table(audit: Row) -> Table:
    """Return how far the inputs are from the clean ones, and what the attacks spent."""
    rows = [row for row in audit["summary"] if row["kind"] != "clean"]
    texts = any(not words.is_missing(row.get("edits_mean")) for row in rows)
    scale = "in the unit of the budget; similarity in characters" if texts else scale_of(audit["target"].get("inputs"))
    says = f"distances: {scale}; effort: all samples together"
    numbers = [
        Column("Linf, max", says, "linf_max", lambda value: eps_text("Linf", value)),
        Column("L2, mean", says, "l2_mean", "{:.3g}".format),
        Column("L1, mean", says, "l1_mean", "{:.3g}".format),
    ]
    counts = [
        Column("edits, mean", says, "edits_mean", "{:.3g}".format),
        Column("similarity, mean", says, "similarity_mean", percent),
    ]
    effort = [
        Column("forward passes", says, "forwards", "{:,}".format),
        Column("backward passes", says, "backwards", "{:,}".format),
        Column("attack time", says, "attack_seconds", lambda value: quantity(value, "s")),
    ]
    return filled([*(counts if texts else numbers), *effort], rows)


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Return a table without the optional columns that no row has."""
    shown, hidden = list[Column](), list[str]()
    for column in columns:
        if column.optional and all(words.is_missing(row.get(column.key)) for row in rows):
            hidden += [f"{column.title}: {words.missing(words.reason_for(row, column.key))}" for row in rows[:1]]
        else:
            shown.append(column)
    table = Table(tuple((column.title, column.says) for column in shown), hidden=hidden)
    for row in rows:
        table.body.append((words.label(row), row["kind"], [column.cell(table, row) for column in shown]))
    return table


def _loop_columns(audit: Row) -> list[Column]:
    cap = next((row["cap"] for row in audit["summary"] if row.get("cap")), "?")
    return [
        Column(f"I-Loops (cap {cap})", "mean increase of the decoder steps", "i_loops_mean", loops_text),
        Column("steps, clean to attacked", "mean decoder steps, end token counted", only=_steps),
        Column("cap hits", "share of outputs that the cap ended", "cap_hit_rate", percent),
        Column("corpus BLEU", "all outputs together, 0 to 100", "bleu", "{:.1f}".format, optional=True),
        Column("corpus chrF", "all outputs together, 0 to 100", "chrf", "{:.1f}".format, optional=True),
    ]


def _mean_slowdown(table: Table, row: Row) -> str:
    return f"{table.cell(row, 'slowdown_mean', times)} {words.bracket(row)}".strip()


def _steps(table: Table, row: Row) -> str:
    return " to ".join(table.cell(row, key, steps_text) for key in ("steps_clean_mean", "steps_mean"))


def _latency(table: Table, row: Row) -> str:
    text, ci95 = table.cell(row, "latency_s_p50", lambda value: quantity(value, "s")), row.get("latency_ci95")
    if ci95 is None:
        return f"{text} [-]" if row.get("latency_n") == 1 else text
    return f"{text} [{quantity(ci95[0], 's')} to {quantity(ci95[1], 's')}]"


def _clock(table: Table, row: Row) -> str:
    text = table.cell(row, "latency_valid", lambda valid: "VALID" if valid else "INVALID")
    reason = row.get("latency_reason")
    return f"{text}: {reason}" if row.get("latency_valid") is False and reason else text


def _flops(value: float) -> str:
    return quantity(value, "FLOPs")


def _numbers(row: Row, flags: Sequence[str]) -> str:
    return ", ".join(str(flags.index(flag) + 1) for flag in row["flags"]) or "none"


_OBJECT_COLUMNS = (
    Column("objects, clean", "mean handed downstream per sample", "kept_clean_mean", steps_text),
    Column("objects", "mean handed downstream per sample", "kept_mean", steps_text),
)
_EXIT_COLUMNS = (
    Column("efficacy, step", "1 - mean cost as a share of the static bound", "efficacy_step", "{:.3f}".format),
    Column("efficacy, trapezoid", "area under the early-exit curve", "efficacy_eec", "{:.3f}".format),
    Column("samples per exit", "first exit to last", "exit_histogram", lambda counts: " / ".join(map(str, counts))),
)
