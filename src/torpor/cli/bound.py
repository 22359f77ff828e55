"""``torpor bound``: what no input can exceed."""

from __future__ import annotations

from torpor.cli.options import Json, TargetName


def bound(target: TargetName, as_json: Json = False) -> None:
    """Print the static bound of TARGET: the most that its structure and caps allow."""
    from dataclasses import asdict

    from rich.table import Table

    from torpor.bounds.static import static_bound
    from torpor.cli.console import show
    from torpor.cli.streams import print_json, say
    from torpor.reports.printable import printable
    from torpor.targets.resolve import load_target

    found = static_bound(load_target(target))
    if as_json:
        print_json(asdict(found) | {"slowdown": found.slowdown})
        return
    table = Table(
        "unit", "FLOPs per run", "most runs", "share of the bound", title=f"Static bound of {printable(found.target)}"
    )
    for name, flops, count in found.units:
        table.add_row(printable(name), f"{flops:,}", f"{count}", f"{flops * count / found.flops:.1%}")
    show(table)
    say(
        f"No {found.inputs} costs more than {found.flops:,.0f} FLOPs (2 per multiply-add), {found.slowdown:.2f} times "
        "the cheapest path. Of other inputs this says nothing."
    )
