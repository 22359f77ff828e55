"""What mining found, in sentences, tables and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.audits.mining.mined import MinedInputs, cut_short
from torpor.audits.mining.ranking import ExpensiveInput
from torpor.core.units import symbol
from torpor.reports.kit.printable import printable
from torpor.reports.kit.words import percent, quantity, times

Cells = list[list[str]]
SHOWN = 60
"""Characters of a text that a table shows."""
HUNDRED = 100
"""Inputs of which one is more than 1 %."""
MARKUP = "\\`*_{}[]<>()#+!|&~$:.@"
"""Characters that Markdown or HTML might read; the last three make addresses and mentions of people links."""


def mined_sentences(found: MinedInputs) -> list[str]:
    """Return what readers should know first: how cost is distributed, how near it is to the bound, what was run."""
    said = [_counted(found), _distribution(found)]
    if (tail := found.tail).bound is not None and tail.bound_share is not None:
        said.append(
            f"Static bound: {_cost(found, tail.bound)} at most; the input nearest to its own bound takes "
            f"{percent(tail.bound_share)} of it, and {tail.at_bound:,} of {tail.bounded:,} are at theirs"
            + (f", {tail.above_bound:,} of them above: a cap did not hold." if tail.above_bound else ".")
        )
    elif found.target is None:
        said.append("No static bound: the log tells no cap of the answers; pass --cap to compare with one.")
    if found.sample is not None:
        said.append(_surrogate(found))
    for attack in found.attacks:
        share = (
            ""
            if attack.natural_share is None
            else f", of which the costliest natural input is {percent(attack.natural_share)}"
        )
        said.append(
            f"{attack.row} on {attack.n:,} samples: mean {_cost(found, attack.cost_mean)}, costliest "
            f"{_cost(found, attack.cost_max)}{share}."
        )
    return [*said, *found.notes]


def top_table(found: MinedInputs) -> tuple[list[str], Cells]:
    """Return the heads and the cells of the table of the costliest inputs; columns that say nothing are left out."""
    columns = [
        ("rank", [str(rank) for rank in range(1, len(found.top) + 1)]),
        ("place", [each.place for each in found.top]),
        ("times", [f"{each.times:,}" for each in found.top] if any(each.times > 1 for each in found.top) else []),
        ("cost", [_cost(found, each.cost) for each in found.top]),
        ("x median", ["-" if each.slowdown is None else times(each.slowdown) for each in found.top]),
        ("of bound", [_share(each.bound_share) for each in found.top] if found.tail.bounded else []),
        ("because of", [_reason(found, each) for each in found.top]),
        ("cluster", [str(each.cluster) for each in found.top]),
        ("text", [_text(each) for each in found.top] if any(each.text is not None for each in found.top) else []),
    ]
    shown = [(head, cells) for head, cells in columns if cells]
    return [head for head, _ in shown], [list(row) for row in zip(*(cells for _, cells in shown), strict=True)]


def cluster_table(found: MinedInputs) -> tuple[list[str], Cells]:
    """Return the heads and the cells of the table of clusters."""
    cells = [
        [str(each.number), str(each.size), each.unit, _cost(found, each.cost_mean), each.example]
        for each in found.clusters
    ]
    return ["cluster", "inputs", "because of", "mean cost", "costliest"], cells


def mined_markdown(found: MinedInputs) -> str:
    """Return everything as a Markdown document in which nothing from the inputs is markup."""
    title = f"Expensive inputs of {found.source}" + (f" on {found.target}" if found.target else "")
    parts = [f"# {_plain(title)}", *(f"- {_plain(each)}" for each in mined_sentences(found))]
    return "\n".join(
        [
            parts[0],
            "",
            *parts[1:],
            "",
            *_markdown(*top_table(found)),
            "",
            "## Clusters",
            "",
            *_markdown(*cluster_table(found)),
            "",
        ]
    )


def _markdown(heads: Sequence[str], rows: Cells) -> list[str]:
    lines = [heads, ["---"] * len(heads), *([_plain(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _plain(text: str) -> str:
    """Return a text on one line, in which every character that Markdown or HTML might read is escaped."""
    return "".join(f"&#{ord(each)};" if each in MARKUP else each for each in printable(text))


def _counted(found: MinedInputs) -> str:
    distinct = "" if found.distinct == found.n else f", {found.distinct:,} of them distinct"
    what = "requests with recorded tokens" if found.target is None else "inputs"
    return f"{found.n:,} {what} of {found.source}{distinct}."


def _distribution(found: MinedInputs) -> str:
    tail = found.tail
    share = ""
    if tail.top_share is not None:
        few = f"costliest one of {tail.n:,} takes" if tail.n < HUNDRED else "costliest 1 % take"
        share = f"; the {few} {percent(tail.top_share)} of the whole"
    return (
        f"Cost: mean {_cost(found, tail.mean)}, median {_cost(found, tail.p50)}, p99 {_cost(found, tail.p99)}, p99.9 "
        f"{_cost(found, tail.p999)}, most {_cost(found, tail.max)}{share}."
    )


def _surrogate(found: MinedInputs) -> str:
    chosen = found.ran - (found.sample or 0)
    said = (
        f"{found.ran:,} of {found.distinct:,} were run: {found.sample:,} drawn at random, from which mean and "
        f"percentiles are estimated, and {chosen:,} that a surrogate ranked highest."
    )
    if (recall := found.recall) is None:
        return f"{said} Its recall cannot be told: all inputs of the sample cost the same."
    share = percent(recall.share)
    return (
        f"{said} Of {recall.expensive:,} sampled inputs that are among the costliest {share}, a surrogate that did not "
        f"see them ranks {recall.found:,} among its own highest {share}: recall {percent(recall.recall)} (95 % "
        f"interval {percent(recall.low)} to {percent(recall.high)})."
    )


def _reason(found: MinedInputs, each: ExpensiveInput) -> str:
    place = found.units.index(each.unit)
    counts = f"{each.unit} {each.counts[place]:,} (median {found.usual[place]:,})"
    return counts if each.unit_share is None else f"{counts}: {percent(each.unit_share)} of the excess"


def _text(each: ExpensiveInput) -> str:
    return printable(cut_short(each.text, SHOWN) or "")


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _cost(found: MinedInputs, value: float) -> str:
    return quantity(value, symbol(found.currency))
