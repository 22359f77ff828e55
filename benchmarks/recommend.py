"""(q) Does ``torpor recommend`` agree with an exhaustive grid? ``python -m benchmarks.recommend [--table]``: no timing.

Each target is searched twice, once with every choice of caps attacked. Printed are the recommended caps of both, by how
much an attacked quantity of the front differs from what the grid found, at most, and what both have spent. ``--table``
also prints which cap helps against what, in Markdown, from the exhaustive searches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from torpor.audits.recommend.evidence import CapEvidence
from torpor.audits.recommend.recommendation import CapRecommendation
from torpor.audits.recommend.run import CapRequest, recommend
from torpor.audits.request import request


@dataclass(frozen=True)
class CapCase:
    """A target, what attacks it, and what its caps must keep.

    Attributes:
        target: its name.
        attacks: their names.
        limit: of attacked inputs.
        loss: points of the mean utility that may be lost.
        samples: to attack.
        eps: of the attacks; their own if None.
        steps: of attacks that take them; their own if None.
        downstream: cost of each object that is handed on; None for none.
        kinds: guards to choose from; all that apply if None.
    """

    target: str
    attacks: str
    limit: str
    loss: float
    samples: int
    eps: str | None = None
    steps: int | None = None
    downstream: str | None = None
    kinds: tuple[str, ...] | None = None


CASES = (
    CapCase("sdn-digits", "deepsloth,pgd", "p99(cost) < 20x", 0.02, 48, "16/255"),
    CapCase("speller", "nmtsloth-char", "p99(cost) < 2x", 0.05, 4, "1", kinds=("steps", "loop-stop", "quota")),
    CapCase("speller", "nmtsloth-char", "p99(cost) < 2x", 0.05, 2, "1", kinds=("hazard",)),
    CapCase("detector-scenes", "overload", "p99(cost) < 2x", 0.05, 4, "16/255", 8, "20 MFLOPs"),
)


@dataclass(frozen=True)
class CapAgreement:
    """How a search compares with the grid.

    Attributes:
        quick: what the search found.
        grid: what attacking every choice found.
        apart: largest relative difference of an attacked quantity on the search's front.
        kept: whether the grid, too, finds that the recommended caps keep the limit, or that none do.
        worse: utility of the grid's recommendation minus that of the search's.
    """

    quick: CapRecommendation
    grid: CapRecommendation
    apart: float
    kept: bool
    worse: float


def searched(case: CapCase, *, exhaustive: bool) -> CapRecommendation:
    """Search for the caps of a case in a folder that is deleted."""
    asked = CapRequest((case.limit,), case.loss, kinds=case.kinds, exhaustive=exhaustive)
    settings = {"eps": case.eps, "steps": case.steps, "limit": case.samples, "downstream": case.downstream}
    audit = request(case.target, case.attacks, timed=False, **settings)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        return recommend(asked, audit, Path(folder) / "out")


def agreement(case: CapCase) -> CapAgreement:
    """Search twice, and compare."""
    quick, grid = (searched(case, exhaustive=exhaustive) for exhaustive in (False, True))
    found = {one.choice.name: one for one in grid.search.every}

    def apart(one: CapEvidence) -> float:
        theirs = grid.search.attacked(found[one.choice.name])
        return abs(theirs - quick.search.attacked(one)) / theirs

    chosen, best = quick.search.chosen(), grid.search.chosen()
    return CapAgreement(
        quick,
        grid,
        max(map(apart, quick.search.front())),
        best is None if chosen is None else grid.search.holds(found[chosen.choice.name]),
        0.0 if chosen is None or best is None else quick.search.loss(chosen) - grid.search.loss(best),
    )


def table(grid: CapRecommendation) -> list[str]:
    """Return a row of Markdown for each guard: the setting of it that holds most against attacks within the loss."""
    search, rows = grid.search, list[str]()
    best: dict[str, CapEvidence] = {}
    for one in search.in_play:
        kind = "+".join(one.choice.places) or "none"
        if kind not in best or search.attacked(one) < search.attacked(best[kind]):
            best[kind] = one
    of = search.task.shown
    for one in best.values():
        bound = of.value(0 * one.least + one.bound, search.records.cost)
        numbers = (search.natural(one), search.attacked(one), bound)
        cells = [grid.target, f"`{one.choice.name}`", f"{search.loss(one):+.3f} {grid.utility_name}"]
        rows.append("| " + " | ".join([*cells, *(f"{number:.3g}x" for number in numbers)]) + " |")
    return rows


def _named(case: CapCase) -> str:
    return f"{case.target} ({'+'.join(case.kinds)})" if case.kinds else case.target


def main(words: Sequence[str] | None = None) -> int:
    """Print the agreement, and the table if asked; return 1 where a search does not agree with its grid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a target's name, or of its guards'")
    parser.add_argument("--table", action="store_true", help="also print which cap helps against what, in Markdown")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    cases = [case for case in CASES if options.only in f"{case.target} {'+'.join(case.kinds or ())}"]
    wrong, rows = 0, list[str]()
    for case in cases:
        found = agreement(case)
        spent = [sum(one.attacked for one in each.search.every) for each in (found.quick, found.grid)]
        names = [each.search.chosen() for each in (found.quick, found.grid)]
        said = " and ".join("no cap" if one is None else one.choice.name for one in names)
        agrees = found.apart <= 0.05 and found.kept and found.worse <= 0.05
        wrong += not agrees
        rows += table(found.grid)
        print(
            f"{_named(case)}: {'agrees' if agrees else 'DIFFERS'}; recommended {said}; front within {found.apart:.1%}; "
            f"attacks {spent[0]} of {spent[1]}; passes {found.quick.passes:,} of {found.grid.passes:,} "
            f"({found.quick.passes / found.grid.passes:.0%})",
            flush=True,
        )
    if options.table:
        print("\n| target | caps | loss | natural p99(cost) | attacked p99(cost) | static bound |")
        print("|---|---|---|---|---|---|")
        print("\n".join(rows))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
