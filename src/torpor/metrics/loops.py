"""Loops: how many more decoder steps attacked inputs cost (the field's I-Loops, token ratios and cap hits)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.core.measures import ELSEWHERE, Measure
from torpor.metrics.vectors import vector

COLUMNS = ("steps", "steps_clean", "cap", "capped", "capped_clean")
_ONCE_MORE = "nothing was run at four times the cap"
_column, _key = partial(Measure, level="sample"), partial(Measure, level="row")
LOOPS: tuple[Measure, ...] = (
    _column("steps_clean", dimension="count", title="clean steps", help="Decoder steps of the clean input.", dtype=int),
    _column(
        "steps",
        dimension="count",
        title="steps",
        help="Decoder steps of this input, the end token counted.",
        better="low",
        dtype=int,
    ),
    _column(
        "i_loops",
        dimension="percent",
        title="I-Loops",
        help="`100 * (steps - steps_clean) / steps_clean`, per cent.",
        better="low",
    ),
    _column("cap", dimension="count", title="cap", help="Decoder steps at most for this sample.", dtype=int),
    _column(
        "capped_clean",
        dimension="ratio",
        title="clean capped",
        help="Whether the cap, not an end token, ended the clean output.",
        dtype=bool,
    ),
    _column(
        "capped",
        dimension="ratio",
        title="capped",
        help="Whether the cap, not an end token, ended this output.",
        better="low",
        dtype=bool,
    ),
    _column("output", dimension="text", title="output", help="The text that was generated.", dtype=str),
    _column(
        "reference_text",
        dimension="text",
        title="reference",
        help="True text.",
        null="the data have no references",
        dtype=str,
    ),
    _key(
        "i_loops_mean",
        dimension="percent",
        title="I-Loops",
        help="Mean I-Loops, per cent.",
        better="low",
        on_console=True,
    ),
    _key("i_loops_max", dimension="percent", title="I-Loops max", help="Largest I-Loops.", better="low"),
    _key("i_loops_limit", dimension="percent", title="I-Loops limit", help="I-Loops that the cap allows, per cent."),
    _key("steps_mean", dimension="count", title="steps", help="Mean decoder steps per sample.", better="low"),
    _key("steps_clean_mean", dimension="count", title="clean steps", help="The same of the clean inputs."),
    _key(
        "token_ratio_of_means",
        dimension="ratio",
        title="token ratio",
        help="`steps_mean / steps_clean_mean`.",
        better="low",
    ),
    _key(
        "token_mean_of_ratios",
        dimension="ratio",
        title="mean token ratio",
        help="Mean over samples of steps over clean steps.",
        better="low",
    ),
    _key("cap", dimension="count", title="cap", help="Decoder steps at most, as deployed.", dtype=int, on_console=True),
    _key(
        "cap_hit_rate",
        dimension="ratio",
        title="cap hits",
        help="Share of outputs that the cap ended and not an end token.",
        better="low",
        on_console=True,
    ),
    _key("cap_hit_rate_clean", dimension="ratio", title="clean cap hits", help="The same of the clean outputs."),
    _key(
        "ogf_mean",
        dimension="ratio",
        title="over-generation",
        help="Over-generation factor: mean steps over the tokens that the model was made for.",
        better="low",
        null="the target names no length of context",
    ),
    _key(
        "bleu",
        dimension="number",
        title="BLEU",
        help="Corpus BLEU, 0 to 100.",
        better="high",
        null=ELSEWHERE,
        on_console=True,
    ),
    _key("chrf", dimension="number", title="chrF", help="Corpus chrF, 0 to 100.", better="high", null=ELSEWHERE),
    _key(
        "bleu_reason",
        dimension="text",
        title="BLEU: why not",
        help="Why there are no scores.",
        null="there are some",
        dtype=str,
    ),
    _key(
        "cap4",
        dimension="count",
        title="4 x cap",
        help="Four times the cap, or as many steps as the model has positions for.",
        null=_ONCE_MORE,
        dtype=int,
    ),
    _key(
        "cap4_n",
        dimension="count",
        title="at 4 x cap: n",
        help="Saved inputs that were run once more under it.",
        null=_ONCE_MORE,
        dtype=int,
    ),
    _key(
        "cap4_i_loops_mean",
        dimension="percent",
        title="at 4 x cap: I-Loops",
        help="Their mean I-Loops, per cent.",
        better="low",
        null=_ONCE_MORE,
    ),
    _key(
        "cap4_hit_rate",
        dimension="ratio",
        title="at 4 x cap: hits",
        help="Share of them that did not end by itself.",
        better="low",
        null=_ONCE_MORE,
    ),
    _key(
        "i_latency",
        dimension="percent",
        title="I-Latency",
        help="Increase of the latency, per cent.",
        better="low",
        null="no paired wall-clock run",
    ),
)
"""What audits measure of targets that iterate."""


def i_loops(steps: npt.ArrayLike, steps_clean: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the increase of each sample's decoder steps in per cent, ``[N]`` (Chen et al., CVPR 2022).

    Raises:
        UsageError: if a clean sample ran no step.

    >>> i_loops([30, 10], [10, 10]).tolist()
    [200.0, 0.0]
    """
    after, before = vector(steps, "steps"), vector(steps_clean, "clean steps")
    if (before <= 0).any():
        raise UsageError("expected at least one decoder step for each clean sample, got 0; count the end token")
    return 100 * (after - before) / before


def loop_summary(columns: Mapping[str, npt.ArrayLike], *, cap: int, context: int | None) -> dict[str, Any]:
    """Return a summary row's keys of decoder steps.

    Args:
        columns: one array ``[N]`` for each name in ``COLUMNS``; others are ignored.
        cap: decoder steps at most for any sample.
        context: tokens that the model was made for; None if it has no such limit.

    >>> batch = {"steps": [30, 10], "steps_clean": [10, 10], "cap": [30, 30]}
    >>> batch |= {"capped": [True, False], "capped_clean": [False, False]}
    >>> found = loop_summary(batch, cap=30, context=None)
    >>> found["i_loops_mean"], found["token_ratio_of_means"], found["token_mean_of_ratios"], found["cap_hit_rate"]
    (100.0, 2.0, 2.0, 0.5)
    """
    column = {name: vector(columns[name], name) for name in COLUMNS}
    loops = i_loops(column["steps"], column["steps_clean"])
    return {
        "i_loops_mean": float(loops.mean()),
        "i_loops_max": float(loops.max()),
        "i_loops_limit": float(i_loops(column["cap"], column["steps_clean"]).mean()),
        "steps_mean": float(column["steps"].mean()),
        "steps_clean_mean": float(column["steps_clean"].mean()),
        "token_ratio_of_means": float(column["steps"].mean() / column["steps_clean"].mean()),
        "token_mean_of_ratios": float((column["steps"] / column["steps_clean"]).mean()),
        "cap": cap,
        "cap_hit_rate": float(column["capped"].mean()),
        "cap_hit_rate_clean": float(column["capped_clean"].mean()),
        "ogf_mean": None if context is None else float(column["steps"].mean() / context),
    }
