"""``torpor bound``: what no input can exceed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.options import DataDir, Inputs, Json, Limit, TargetName

if TYPE_CHECKING:
    from torpor.bounds.static import StaticBound
    from torpor.bounds.tightness import Tightness

Name = Annotated[str, typer.Option("--bound", help="A name from 'torpor list bounds', with options if needed.")]
BoundNorm = Annotated[str | None, typer.Option(help="Norm of the budget, for other bounds.", show_default=False)]
BoundEps = Annotated[
    str | None,
    typer.Option(help="Radius, such as 8/255, for other bounds; any input at all by default.", show_default=False),
]


def bound(
    target: TargetName,
    name: Name = "static",
    norm: BoundNorm = None,
    eps: BoundEps = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    inputs: Inputs = None,
    as_json: Json = False,
) -> None:
    """Print what no input of TARGET can exceed: the static bound, or another one of each test sample."""
    from torpor.bounds.registry import load_bound
    from torpor.cli.streams import print_json
    from torpor.core.errors import UsageError
    from torpor.targets.resolve import load_target

    chosen = load_bound(name)
    if not chosen.local and any(given is not None for given in (norm, eps, limit, data_dir, inputs)):
        raise UsageError(
            f"expected neither a budget nor data with the bound {name}, which is one of all inputs, got some; leave "
            "them out"
        )
    system = load_target(target)
    if chosen.id == "static":
        from torpor.bounds.static import static_bound

        found = static_bound(system)
        if as_json:
            print_json(asdict(found) | {"slowdown": found.slowdown})
        else:
            _show(found)
        return
    from torpor.audits.run.job import source
    from torpor.bounds.tightness import tightness
    from torpor.cli.console import waiting
    from torpor.core.budget import Budget

    if (norm is None) != (eps is None):
        raise UsageError("expected --norm and --eps, or neither for a bound of any input, got one of them")
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of 1 or more, got {limit}")
    budget = None if norm is None or eps is None else Budget.parse(norm, eps)
    with waiting(f"bounding {target}"):
        tight = tightness(chosen, system, source(system, data_dir, inputs), budget, limit)
    if as_json:
        print_json(asdict(tight))
    else:
        _show_tightness(tight)


def _show(found: StaticBound) -> None:
    from rich.table import Table

    from torpor.cli.console import show
    from torpor.cli.streams import say
    from torpor.core.units import symbol
    from torpor.reports.kit.printable import printable

    unit = printable(symbol(found.currency))
    title = f"Static bound of {printable(found.target)}"
    table = Table("unit", f"{unit} per run", "most runs", "share of the bound", title=title)
    for name, price, count in found.units:
        table.add_row(printable(name), f"{price:,.12g}", f"{count}", f"{price * count / found.cost:.1%}")
    show(table)
    counted = " (2 per multiply-add)" if found.currency == "flops" else ""
    say(
        f"No {found.inputs} costs more than {found.cost:,.12g} {unit}{counted}, {found.slowdown:.2f} times the "
        "cheapest path. This does not hold for other inputs."
    )


def _show_tightness(found: Tightness) -> None:
    from torpor.cli.streams import say
    from torpor.core.units import symbol
    from torpor.reports.kit.printable import printable

    unit, name = printable(symbol(found.currency)), printable(found.bound)
    near = "any input" if found.eps is None else f"any input within {found.norm} eps={found.eps:.4g}"
    say(
        f"Over {found.n} test samples of {printable(found.target)}, {near} costs at most {found.slowdown_mean:.2f} "
        f"times its clean cost on average, {found.slowdown_max:.2f} times at most, by the bound {name}. Mean cost: "
        f"clean {found.clean:,.6g} {unit}, bound {found.certified:,.6g} {unit}, static bound {found.static:,.6g} "
        f"{unit}."
    )
