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
    from torpor.core.currency import symbol
    from torpor.reports.printable import printable
    from torpor.targets.resolve import load_target

    found = static_bound(load_target(target))
    if as_json:
        print_json(asdict(found) | {"slowdown": found.slowdown})
        return
    unit = printable(symbol(found.currency))
    title = f"Static bound of {printable(found.target)}"
    table = Table("unit", f"{unit} per run", "most runs", "share of the bound", title=title)
    for name, price, count in found.units:
        table.add_row(printable(name), f"{price:,.12g}", f"{count}", f"{price * count / found.cost:.1%}")
    show(table)
    counted = " (2 per multiply-add)" if found.currency == "flops" else ""
    say(
        f"No {found.inputs} costs more than {found.cost:,.12g} {unit}{counted}, {found.slowdown:.2f} times the "
        "cheapest path. Of other inputs this says nothing."
    )
