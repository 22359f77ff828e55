"""Columns of the records of every audit; the target's family adds its own after them."""

from __future__ import annotations

from functools import partial

from torpor.core.measures import Measure, Points

_column = partial(Measure, level="sample")

RECORD: tuple[Measure, ...] = (
    _column("sample", dimension="identity", title="sample", help="Index of the sample in its split.", dtype=int),
    _column(
        "attack",
        dimension="identity",
        title="attack",
        help="Name of the attack; `clean` for the clean input.",
        dtype=str,
    ),
    _column(
        "defense", dimension="identity", title="defense", help="Name of the defense; `none` without one.", dtype=str
    ),
    _column(
        "tampering",
        dimension="identity",
        title="tampering",
        help="Name of what was done to the model or its training data; `none` without.",
        dtype=str,
    ),
    _column(
        "attacker",
        dimension="identity",
        title="attacker",
        help="`non-adaptive` if the attack was crafted without the defense, `adaptive` if through it.",
        null="no defense or no attack",
        dtype=str,
    ),
    _column(
        "found_through",
        dimension="text",
        title="found through",
        help="Name of the defense through which the input of an undefended row was crafted, where it costs more than "
        "what the attack found without it.",
        null="the attack found it without a defense",
        dtype=str,
    ),
    _column("norm", dimension="identity", title="norm", help="Norm of the budget.", null="the clean input", dtype=str),
    _column(
        "eps",
        dimension="identity",
        title="eps",
        help="Radius of the budget, pixels in [0, 1]; the share of the area of a patch; the number of edits for texts.",
        null="the clean input",
    ),
    _column(
        "cut",
        dimension="count",
        title="cut",
        help="Sound samples or tokens at the end of the input as it was given that the target does not read.",
        null="inputs have no length",
        dtype=int,
    ),
    _column(
        "cost_clean",
        dimension="cost",
        title="clean cost",
        help="Cost of the clean input without any defense, in the audit's currency.",
        better="low",
    ),
    _column(
        "cost_own",
        dimension="cost",
        title="clean cost, defended",
        help="Cost of the clean input defended as this row is: what success, flags and headroom compare with.",
        better="low",
    ),
    _column("cost", dimension="cost", title="cost", help="Cost of this input.", better="low"),
    _column("cost_static", dimension="cost", title="static bound", help="The sample's static bound.", better="low"),
    _column(
        "slowdown",
        dimension="ratio",
        title="slowdown",
        help="`cost / cost_clean`.",
        better="low",
    ),
    _column(
        "headroom",
        dimension="ratio",
        title="headroom",
        help="`(cost - cost_own) / (cost_static - cost_own)`, of rejected inputs 0 at least.",
        better="low",
        null="the clean cost equals the static bound, or the clean input is rejected",
    ),
    _column("work", dimension="object", title="work", help="How often each unit ran.", dtype=list),
    _column(
        "work_static", dimension="object", title="static work", help="How often each unit may run at most.", dtype=list
    ),
    _column(
        "utility_clean",
        dimension="ratio",
        title="clean utility",
        help="Utility of the clean output without any defense, such as 1 for a right prediction.",
        better="high",
        null="the data have no references",
    ),
    _column(
        "utility",
        dimension="ratio",
        title="utility",
        help="Utility of this output.",
        better="high",
        null="the data have no references",
    ),
    _column(
        "agreement",
        dimension="ratio",
        title="agreement",
        help="Whether the output says the same as the clean one without any defense.",
        better="high",
        dtype=bool,
    ),
    _column(
        "rejected",
        dimension="ratio",
        title="rejected",
        help="Whether an input detector rejected the input.",
        null="nothing rejects inputs",
        dtype=bool,
    ),
    _column(
        "linf",
        dimension="distance",
        title="Linf",
        help="Largest change of any pixel or sound sample.",
        null="texts have no such distance",
    ),
    _column(
        "l2",
        dimension="distance",
        title="L2",
        help="Euclidean length of the change.",
        null="texts have no such distance",
    ),
    _column("l1", dimension="distance", title="L1", help="Sum of the changes.", null="texts have no such distance"),
    _column(
        "edits",
        dimension="count",
        title="edits",
        help="Edits in the unit of the budget's norm, characters in clean rows.",
        null="only texts have edits",
        dtype=int,
    ),
    _column(
        "similarity",
        dimension="ratio",
        title="similarity",
        help="1 minus the Levenshtein distance over characters as a share of the longer text.",
        null="only texts have edits",
    ),
    _column(
        "forwards",
        dimension="count",
        title="forward passes",
        help="Forward passes that the attack spent on this sample.",
        dtype=int,
    ),
    _column(
        "backwards",
        dimension="count",
        title="backward passes",
        help="Backward passes that the attack spent on this sample.",
        dtype=int,
    ),
    _column(
        "zero_gradient",
        dimension="flag",
        title="zero gradient",
        help="Whether most of the attack's first gradient was exactly zero.",
        null="the attack uses no gradients",
        dtype=bool,
    ),
    _column(
        "budget_used",
        dimension="ratio",
        title="budget used",
        help="Share of the budget that the attack's candidate used, whether it was kept or not.",
        null="the clean input",
    ),
    _column(
        "surrogate_diverged",
        dimension="flag",
        title="surrogate diverged",
        help="Whether the attack's loss fell by a tenth while the cost did not rise above the clean input's.",
        null="the attack has no loss",
        dtype=bool,
    ),
    _column(
        "black_box_won",
        dimension="flag",
        title="black box won",
        help="Whether a gradient-free member of an ensemble beat all others.",
        null="the attack is no ensemble",
        dtype=bool,
    ),
    _column(
        "search_cost",
        dimension="cost",
        title="cost of the search",
        help="What the target billed for the candidates of the search on this sample, each request once, retries left "
        "out.",
        null="the clean input, or a target that runs here and bills nothing, or other prices than those of the run",
    ),
    _column(
        "curve",
        dimension="object",
        title="best so far",
        help="Where the best so far became costlier than the clean input and all before: `passes` on this sample by "
        "then, forward and backward, `cost`, the `member` of an ensemble, which found it, and what was `spent` on all "
        "candidates by then.",
        null="the clean input, or one that was not searched on this target",
        dtype=Points,
    ),
)
"""In the order of the columns; ``torpor.targets.Family.measures`` of level ``"sample"`` come on top."""

_ASKED = "no bound was asked for, the clean input, or a bound that does not cover the defense"

CERTIFIED: tuple[Measure, ...] = (
    _column(
        "certified_work",
        dimension="object",
        title="certified work",
        help="How often each unit runs at most on any input within the row's budget of this clean input.",
        null=_ASKED,
        dtype=list,
    ),
    _column(
        "certified_cost",
        dimension="cost",
        title="certified cost",
        help="Cost of that work, which no input within the budget exceeds.",
        better="low",
        null=_ASKED,
    ),
    _column(
        "certified_slowdown",
        dimension="ratio",
        title="certified slowdown",
        help="`certified_cost / cost_clean`.",
        better="low",
        null=_ASKED,
    ),
    _column(
        "certified_by",
        dimension="text",
        title="certified by",
        help="Which of the bounds says so: of several, the one that allows this sample the least cost.",
        null=_ASKED,
        dtype=str,
    ),
)
"""Columns behind all others, in the records of audits that were given ``--bounds`` and in no others."""
