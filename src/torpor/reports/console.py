"""The console's view of an audit: a verdict in one line and a table that fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torpor.core.budget_text import budget_text
from torpor.reports import words
from torpor.reports.verdict import verdict

if TYPE_CHECKING:
    from rich.table import Table

_HEADS = ("slowdown", "p95 / max", "headroom", "efficacy", "accuracy", "agree")
_OBJECT_NOTE = (
    "slowdown: mean [95 % CI]; objects: mean per sample that are handed downstream, clean -> attacked; clean recall: "
    "clean objects that are still found"
)
_NOTE = "slowdown: mean [95 % CI]; efficacy: step form, 1 - mean cost over the static bound"


def verdict_line(audit: Mapping[str, Any]) -> str:
    """Say what an audit found in one line: the worst attack's cost, the reference costs, what it did to the output.

    >>> verdict_line({"summary": [], "natural": None})
    'Worst slowdown not measured: no attack was run.'
    """
    return " ".join(verdict(audit))


def summary_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """Return the summary as a table, two lines per row: attack over budget, mean over its interval, p95 over maximum.

    Targets that iterate have decoder steps where others have early exits. Values that nobody measured are ``n/a``; the
    caption below the table gives the reasons and explains the flags.

    >>> summary_table([]).row_count
    0
    """
    from rich.table import Table
    from rich.text import Text

    loops, finds = words.iterates(summary), words.finds(summary)
    flags = list(dict.fromkeys(flag for row in summary for flag in row["flags"]))
    reasons: dict[str, None] = {}
    score = _score(summary)
    heads: tuple[str, ...] = (*_HEADS[:4], _utility(summary, "accuracy"), *_HEADS[5:])
    heads = _step_heads(summary, score) if loops else _object_heads(summary) if finds else heads
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", caption_justify="left")
    for head in ("attack", *heads, "flags"):
        table.add_column(Text(head), justify="left" if head in ("attack", "flags") else "right", overflow="fold")
    for row in summary:
        numbers = ",".join(str(flags.index(flag) + 1) for flag in row["flags"])
        figures = _step_figures(row, score, reasons) if loops else _figures(row, reasons, finds=finds)
        cells = [_name(row), *figures, numbers or "-"]
        table.add_row(*(Text(cell) for cell in cells), style="dim" if row["kind"] == "control" else "")
    notes = [_step_note(summary) if loops else _OBJECT_NOTE if finds else _NOTE]
    notes += [f"n/a: {reason}" for reason in reasons]
    notes += [f"flag {place}, {flag}: {words.explain_flag(flag)}" for place, flag in enumerate(flags, 1)]
    table.caption = Text("\n".join(notes))
    return table


def _name(row: Mapping[str, Any]) -> str:
    defense = "" if row.get("defense", "none") == "none" else f"\n{row['defense']}"
    defense += f"\n{row['attacker']}" if row.get("attacker") else ""
    budget = budget_text(row, short=True)
    return f"{row['attack']}\n{budget}{defense}" if row["kind"] != "clean" else f"clean{defense}"


def _utility(summary: Sequence[Mapping[str, Any]], default: str) -> str:
    return next((str(row["utility_name"]) for row in summary if row.get("utility_name")), default)


def _score(summary: Sequence[Mapping[str, Any]]) -> str:
    """Return the key of what is said of generated texts: BLEU, or the utility where there is none."""
    return "bleu" if any(not words.is_missing(row.get("bleu")) for row in summary) else "utility"


def _step_heads(summary: Sequence[Mapping[str, Any]], score: str) -> tuple[str, ...]:
    name = "BLEU" if score == "bleu" else _utility(summary, "utility").replace(" ", "\n")
    loops = f"I-Loops\n(max)\ncap {_cap(summary)}"
    return "slowdown", "p95\nmax", loops, "steps", "cap hits\nheadroom", f"{name}\nagree"


def _object_heads(summary: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return *_HEADS[:3], "objects", "clean\nrecall", "MOTA" if _tracks(summary) else "mAP@.5"


def _tracks(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(not words.is_missing(row.get("mota")) for row in rows)


def _cap(summary: Sequence[Mapping[str, Any]]) -> str:
    return next((str(row["cap"]) for row in summary if row.get("cap")), "unknown")


def _step_note(summary: Sequence[Mapping[str, Any]]) -> str:
    limit = next((row["i_loops_limit"] for row in summary if not words.is_missing(row.get("i_loops_limit"))), None)
    allows = "" if limit is None else f", which allows {words.loops_text(limit)}"
    return (
        f"slowdown: mean [95 % CI]; I-Loops: increase of the decoder steps under the cap of {_cap(summary)} steps"
        f"{allows}; steps: mean, clean -> attacked; cap hits: outputs that the cap ended"
    )


def _cell(row: Mapping[str, Any], key: str, form: Callable[[Any], str], reasons: dict[str, None]) -> str:
    """Return a value as text; ``n/a`` and a reason below the table where there is none."""
    if not words.is_missing(row.get(key)):
        return form(row[key])
    reasons[f"{key}: {words.reason_for(row, key) or 'the audit gives no reason'}"] = None
    return "n/a"


def _figures(row: Mapping[str, Any], reasons: dict[str, None], *, finds: bool) -> list[str]:
    def cell(key: str, form: Callable[[Any], str]) -> str:
        return _cell(row, key, form, reasons)

    mean = f"{cell('slowdown_mean', words.times)}\n{words.bracket(row)}".strip()
    tail = f"{cell('slowdown_p95', words.times)}\n{cell('slowdown_max', words.times)}"
    if finds:
        kept = f"{cell('kept_clean_mean', words.steps_text)}\n-> {cell('kept_mean', words.steps_text)}"
        recall, score = cell("clean_recall_mean", words.percent), "mota" if _tracks([row]) else "map50"
        return [mean, tail, cell("headroom_mean", words.percent), kept, recall, cell(score, "{:.3f}".format)]
    shares = [cell(key, words.percent) for key in ("utility", "agreement")]
    return [mean, tail, cell("headroom_mean", words.percent), cell("efficacy_step", "{:.3f}".format), *shares]


def _step_figures(row: Mapping[str, Any], score: str, reasons: dict[str, None]) -> list[str]:
    def cell(key: str, form: Callable[[Any], str]) -> str:
        return _cell(row, key, form, reasons)

    ci95 = words.bracket(row)
    if words.interval(row):
        ci95 = f"[{'-'.join(words.times(value).removesuffix('x') for value in row['slowdown_ci95'])}]"
    mean = f"{cell('slowdown_mean', words.times)}\n{ci95}".strip()
    tail = f"{cell('slowdown_p95', words.times)}\n{cell('slowdown_max', words.times)}"
    loops = f"{cell('i_loops_mean', words.loops_text)}\n({cell('i_loops_max', words.loops_text)})"
    steps = f"{cell('steps_clean_mean', words.steps_text)}\n-> {cell('steps_mean', words.steps_text)}"
    hits = f"{cell('cap_hit_rate', words.percent)}\n{cell('headroom_mean', words.percent)}"
    said = cell(score, "{:.1f}".format if score == "bleu" else words.percent)
    return [mean, tail, loops, steps, hits, f"{said}\n{cell('agreement', words.percent)}"]
