"""What a report shows of targets that iterate until an end token."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from torpor.core.budget import counted
from torpor.reports.kit import plots
from torpor.reports.kit.charts import rows_of
from torpor.reports.kit.plots import Chart, Series
from torpor.reports.kit.tables import Column, Table, filled
from torpor.reports.kit.words import (
    Row,
    bracket,
    interval,
    is_missing,
    loops_text,
    missing,
    percent,
    reason_for,
    steps_text,
    times,
    titled,
    value_text,
)
from torpor.reports.samples.sample import Half, Sample, Saved, unpacked
from torpor.reports.samples.texts import shown
from torpor.reports.sections.base import Cell, Part, Section

if TYPE_CHECKING:
    import numpy as np

BINS = 32
"""Bars of a histogram of steps at most."""
NOTE = (
    "I-Loops is the increase of a sample's decoder steps in per cent, the end token counted. No output is longer than "
    "the cap, so I-Loops can be no larger than the cap allows: figures under another cap cannot be compared with these."
    " What the cap alone holds back is seen at four times the cap, or at the model's own limit, where the saved inputs "
    "(the first of the audit and the costliest) ran once more, as they were attacked under the cap of this audit."
)


class DecoderSection(Section):
    """Decoder steps, I-Loops under the cap and above it, and what became of the text."""

    columns = ("steps", "steps_clean", "i_loops", "capped", "capped_clean")
    note = NOTE
    wide = True
    caption = "How many steps the decoder ran, under the cap and with a higher one"

    @property
    def cap(self) -> str:
        """The cap in words."""
        return next((str(row["cap"]) for row in self.summary if row.get("cap")), "unknown")

    @property
    def score(self) -> str:
        """The key of the score of generated texts: BLEU, or the utility where there is none."""
        return "bleu" if any(not is_missing(row.get("bleu")) for row in self.summary) else "utility"

    @override
    def main_columns(self) -> list[Column]:
        return [
            Column(f"I-Loops (cap {self.cap})", "mean increase of the decoder steps", "i_loops_mean", loops_text),
            Column("steps, clean to attacked", "mean decoder steps, end token counted", only=_steps),
            Column("cap hits", "share of outputs that the cap ended", "cap_hit_rate", percent),
            Column("corpus BLEU", "all outputs together, 0 to 100", "bleu", "{:.1f}".format, optional=True),
            Column("corpus chrF", "all outputs together, 0 to 100", "chrf", "{:.1f}".format, optional=True),
            Column(self.utility, "mean over samples", "utility", percent, optional=True),
            Column("agreement", "share of outputs that equal the clean one", "agreement", percent),
        ]

    def parts(self) -> list[Part]:
        """Return what the attacks did to the number of decoder steps."""
        columns = [
            Column("steps, clean", "mean decoder steps, end token counted", "steps_clean_mean", steps_text),
            Column("steps, attacked", "mean decoder steps, end token counted", "steps_mean", steps_text),
            Column(
                f"I-Loops, mean (cap {self.cap})",
                "increase of a sample's steps in per cent",
                "i_loops_mean",
                loops_text,
            ),
            Column("I-Loops, max", "of one sample", "i_loops_max", loops_text),
            Column("I-Loops, limit", "what the cap allows", "i_loops_limit", loops_text),
            Column("tokens, ratio of means", "mean steps over mean clean steps", "token_ratio_of_means", times),
            Column(
                "tokens, mean of ratios", "mean over samples of steps over clean steps", "token_mean_of_ratios", times
            ),
            Column("cap hits, clean", "share of clean outputs that the cap ended", "cap_hit_rate_clean", percent),
            Column("cap hits", "share of outputs that the cap ended", "cap_hit_rate", percent),
            Column("OGF", "mean steps over the length of context", "ogf_mean", "{:.3f}".format, optional=True),
            *self.higher_cap_columns(),
        ]
        return [Part("Decoder steps", self.caption, filled(columns, self.summary))]

    def higher_cap_columns(self) -> list[Column]:
        """Return what runs of the saved inputs with a higher cap found."""
        cap4 = next((str(row["cap4"]) for row in self.summary if row.get("cap4")), "?")
        beside = f"{cap4} steps, the same saved inputs"
        return [
            Column("inputs run again", "saved inputs, run with the higher cap", "cap4_n"),
            Column(f"I-Loops (cap {cap4})", beside, "cap4_i_loops_mean", loops_text),
            Column(f"cap hits (cap {cap4})", beside, "cap4_hit_rate", percent),
        ]

    def charts(self, series: Sequence[Series], records: Mapping[str, np.ndarray]) -> list[Chart]:
        """Draw how many decoder steps samples run, clean and attacked, with the cap."""
        cap = self.target.get("cap")
        return [step_distribution(cap, series, records)] if cap and "steps" in records else []

    def tiles(self, worst: Row, clean: Row | None) -> list[tuple[str, str, str]]:
        """Return the figures of a target that iterates; BLEU, or the utility where there is none."""
        steps = " to ".join(value_text(worst, key, steps_text) for key in ("steps_clean_mean", "steps_mean"))
        before = value_text(worst, "cap_hit_rate_clean", percent)
        scored = not is_missing(worst.get("bleu"))
        key, name = ("bleu", "BLEU") if scored else ("utility", str(worst.get("utility_name") or "utility"))
        form = "{:.1f}".format if scored else percent
        was = missing("no clean row") if not clean else value_text(clean, key, form)
        return [
            (
                value_text(worst, "i_loops_mean", loops_text),
                f"mean I-Loops, cap {worst.get('cap')}",
                f"steps {steps}",
            ),
            (value_text(worst, "cap_hit_rate", percent), "ended by the cap", f"clean {before}"),
            (value_text(worst, key, form), name, f"clean {was}"),
        ]

    def sentences(self, worst: Row, clean: Row | None) -> list[str]:
        """Say what became of the decoder steps and of the text."""
        return [_steps_sentence(worst), _text_sentence(worst, clean)]

    @override
    def console_heads(self) -> tuple[str, ...]:
        name = "BLEU" if self.score == "bleu" else self.utility.replace(" ", "\n")
        return (
            "slowdown",
            "p95\nmax",
            f"I-Loops\n(max)\ncap {self.cap}",
            "steps",
            "cap hits\nheadroom",
            f"{name}\nagree",
        )

    @override
    def console_cells(self, row: Row, cell: Cell) -> list[str]:
        ci95 = bracket(row)
        if interval(row):
            ci95 = f"[{'-'.join(times(value).removesuffix('x') for value in row['slowdown_ci95'])}]"
        mean = f"{cell('slowdown_mean', times)}\n{ci95}".strip()
        tail = f"{cell('slowdown_p95', times)}\n{cell('slowdown_max', times)}"
        loops = f"{cell('i_loops_mean', loops_text)}\n({cell('i_loops_max', loops_text)})"
        steps = f"{cell('steps_clean_mean', steps_text)}\n-> {cell('steps_mean', steps_text)}"
        hits = f"{cell('cap_hit_rate', percent)}\n{cell('headroom_mean', percent)}"
        said = cell(self.score, "{:.1f}".format if self.score == "bleu" else percent)
        return [mean, tail, loops, steps, hits, f"{said}\n{cell('agreement', percent)}"]

    @override
    def console_note(self) -> str:
        known = (row["i_loops_limit"] for row in self.summary if not is_missing(row.get("i_loops_limit")))
        limit = next(known, None)
        allows = "" if limit is None else f", which allows {loops_text(limit)}"
        return (
            f"slowdown: mean [95 % CI]; I-Loops: increase of the decoder steps under the cap of {self.cap} steps"
            f"{allows}; steps: mean, clean -> attacked; cap hits: outputs that the cap ended"
        )

    @override
    def sample(self, saved: Saved) -> Sample:
        said = [saved.slowdown]
        said += [f"I-Loops {loops_text(float(saved.records['i_loops'][saved.at]))} (cap {saved.row.get('cap')})"]
        said += [*saved.changes(), *saved.edits(), *([] if saved.kind == "text" else [saved.distance])]
        right = shown(unpacked(saved.tensors["reference"])) if "reference" in saved.tensors else None
        inputs = saved.texts() or (None, None)
        names = (("clean", "steps_clean", "capped_clean"), ("attacked", "steps", "capped"))
        sides = tuple(
            Half(name, self._length(saved, steps, capped), text, shown(unpacked(saved.tensors[f"{name}_output"])))
            for (name, steps, capped), text in zip(names, inputs, strict=True)
        )
        return Sample(saved.title, ", ".join(said), saved.views, sides, right)

    def _length(self, saved: Saved, steps: str, capped: str) -> str:
        ended = ", ended by the cap" if saved.records[capped][saved.at] else ""
        return counted(int(saved.records[steps][saved.at]), "step") + ended


def _steps(table: Table, row: Row) -> str:
    return " to ".join(table.cell(row, key, steps_text) for key in ("steps_clean_mean", "steps_mean"))


def step_distribution(cap: int, series: Sequence[Series], records: Mapping[str, np.ndarray]) -> Chart:
    """Draw how many decoder steps samples run, clean and attacked, with the cap."""
    import numpy as np

    width = -(-cap // BINS)
    edges = 0.5 + width * np.arange(-(-cap // width) + 1)
    spans = [
        f"{edge + 0.5:.0f} to {edge + width - 0.5:.0f}" if width > 1 else f"{edge + 0.5:.0f}" for edge in edges[:-1]
    ]
    figure, top, keys = plots.figure(), 0.0, []
    for s in series:
        counts, _ = np.histogram(records["steps"][rows_of(records, s.rows[0])], edges)
        shares = [100 * float(count) / max(1, counts.sum()) for count in counts]
        top = max(top, *shares)
        figure.add_scatter(
            x=[edges[0], *edges.tolist()],
            y=[0, *shares, 0],
            customdata=[spans[0], *spans, spans[-1]],
            mode="lines",
            line={"color": s.color, "dash": s.dash, "shape": "hv", "width": 2.5},
            **({"fill": "tozeroy"} if s.rows[0]["kind"] == "clean" else {}),
            hovertemplate=f"{html.escape(s.name)}<br>%{{y:.1f}} % run %{{customdata}} steps<extra></extra>",
        )
        keys.append(s.key())
    keys.append(plots.reference(figure, cap, f"cap {cap}", "dot", top=1.06 * top))
    figure.update_xaxes(range=[0, edges[-1] + 0.01 * cap])
    note = (
        "The end token counts as a step. Each line adds up to 100 %. An output at the cap was ended by it, or by an "
        "end token just there."
    )
    per = "step" if width == 1 else f"{width} steps"
    return plots.chart("steps", "Decoder steps", note, keys, figure, ("decoder steps", f"% of the samples per {per}"))


def _steps_sentence(worst: Row) -> str:
    """Say what became of the decoder steps, under which cap, and what the cap holds back."""
    steps = [value_text(worst, key, steps_text) for key in ("steps_clean_mean", "steps_mean")]
    said = (
        f"Decoder steps {' to '.join(steps)} on average: I-Loops {value_text(worst, 'i_loops_mean', loops_text)} "
        f"under the cap of {worst.get('cap')} steps, which allows {value_text(worst, 'i_loops_limit', loops_text)}; "
        f"the cap ended {value_text(worst, 'cap_hit_rate', percent)} of the outputs "
        f"(clean {value_text(worst, 'cap_hit_rate_clean', percent)})"
    )
    if is_missing(worst.get("cap4_i_loops_mean")):
        return f"{said}; with a higher cap {missing(reason_for(worst, 'cap4_i_loops_mean'))}."
    return (
        f"{said}; with a cap of {worst['cap4']} steps, the {worst['cap4_n']} saved inputs, the costliest "
        f"among them, reach I-Loops of {loops_text(worst['cap4_i_loops_mean'])}, and "
        f"{value_text(worst, 'cap4_hit_rate', percent)} of them are still ended by it."
    )


def _text_sentence(worst: Row, clean: Row | None) -> str:
    """Say what the attack did to the generated texts; one reason for all scores where there is none."""
    measures = [(titled(str(worst.get("utility_name") or "utility")), "utility", percent), ("BLEU", "bleu", _score)]
    said, unknown = [], dict[str, list[str]]()
    for name, key, form in measures:
        if is_missing(worst.get(key)):
            unknown.setdefault(missing(reason_for(worst, key)), []).append(name)
            continue
        before = "not measured" if clean is None else value_text(clean, key, form)
        said.append(f"{name} {form(worst[key])} (clean {before})")
    said += [f"{' and '.join(names)} {reason}" for reason, names in unknown.items()]
    return f"{', '.join(said)}; outputs unchanged: {value_text(worst, 'agreement', percent)}."


def _score(value: float) -> str:
    return f"{value:.1f}"
