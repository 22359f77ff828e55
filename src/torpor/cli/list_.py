"""``torpor list``: what there is to audit, to attack with, and to know."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from torpor.cli.options import Json


class What(StrEnum):
    """What can be listed."""

    TARGETS = "targets"
    ATTACKS = "attacks"
    DEFENSES = "defenses"
    BOUNDS = "bounds"
    EXECUTORS = "executors"
    PRICES = "prices"
    TAXONOMY = "taxonomy"


def list_(
    what: Annotated[What, typer.Argument(help="targets, attacks, defenses, bounds, executors, prices or taxonomy.")],
    kind: Annotated[str | None, typer.Option(help="Taxonomy: attack or defense.", show_default=False)] = None,
    behavior: Annotated[str | None, typer.Option(help="Taxonomy: D1, D2 or D3.", show_default=False)] = None,
    mechanism: Annotated[str | None, typer.Option(help="Taxonomy: part of its name.", show_default=False)] = None,
    stage: Annotated[str | None, typer.Option(help="Taxonomy: such as evasion.", show_default=False)] = None,
    access: Annotated[str | None, typer.Option(help="Taxonomy: such as white.", show_default=False)] = None,
    implemented: Annotated[
        bool | None,
        typer.Option("--implemented/--not-implemented", help="Taxonomy: in torpor or not yet.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List targets, attacks, defenses, bounds, executors, prices, or the taxonomy of published attacks and defenses."""
    if what is What.TAXONOMY:
        from torpor.cli.list_taxonomy import print_taxonomy

        print_taxonomy(
            kind=kind,
            behavior=behavior,
            mechanism=mechanism,
            stage=stage,
            access=access,
            implemented=implemented,
            as_json=as_json,
        )
        return
    if any(value is not None for value in (kind, behavior, mechanism, stage, access, implemented)):
        from torpor.core.errors import UsageError

        raise UsageError(
            f"expected filters with 'torpor list taxonomy' only, got some for {what.value}; leave them out"
        )
    listed = {
        What.TARGETS: _targets,
        What.ATTACKS: _attacks,
        What.DEFENSES: _defenses,
        What.BOUNDS: _bounds,
        What.EXECUTORS: _executors,
        What.PRICES: _prices,
    }
    rows = listed[what]()
    short = {} if as_json else {What.ATTACKS: _short, What.DEFENSES: _bounding}
    _print([short[what](row) for row in rows] if what in short else rows, as_json)


def _targets() -> list[dict[str, str]]:
    from torpor.targets.resolve import target_names
    from torpor.zoo.registry import ZOO

    rows = []
    for name in target_names():
        entry = ZOO.get(name)
        weights = "plug-in" if entry is None else "ships with torpor" if entry.ships else "torpor zoo train " + name
        rows.append({"name": name, "weights": weights})
    return rows


def _attacks() -> list[dict[str, str]]:
    from torpor.attacks.registry import ATTACKS

    rows = []
    for name in ATTACKS.names():
        attack = ATTACKS.find(name)
        does = _does(attack)
        row = {"name": name, "stage": attack.stage.value, "access": attack.access.value, "does": does}
        rows.append(row | {"paper": str(attack.paper or "")})
    return rows


def _defenses() -> list[dict[str, str]]:
    from torpor.defenses.registry import DEFENSES

    rows = []
    for name in DEFENSES.names():
        defense = DEFENSES.find(name)
        does = _does(defense)
        paper = f" ({defense.paper.authors}, {defense.paper.venue} {defense.paper.year})" if defense.paper else ""
        rows.append({"defense": name, "bounds": ", ".join(defense.caps), "what it does": f"{does.rstrip('.')}{paper}."})
    return rows


def _bounds() -> list[dict[str, str]]:
    from torpor.bounds.registry import BOUNDS

    return [{"bound": name, "what it does": _does(BOUNDS.find(name))} for name in BOUNDS.names()]


def _executors() -> list[dict[str, str]]:
    from torpor.audits.run.executors import EXECUTORS

    return [{"name": name, "what it does": _does(EXECUTORS.find(name))} for name in EXECUTORS.names()]


def _prices() -> list[dict[str, str]]:
    from torpor.audits.pricing.prices import PRICES

    return [{"name": name, "what it does": _does(PRICES.find(name))} for name in PRICES.names()]


def _does(kind: type) -> str:
    """Return the first line of a class's documentation."""
    lines = (kind.__doc__ or "").strip().splitlines()
    return lines[0].replace("``", "") if lines else ""


def _bounding(row: dict[str, str]) -> dict[str, str]:
    """Say what a defense bounds in its sentence: most bound nothing, and a column of its own would take the place."""
    bounds = f" Bounds: {row['bounds']}." if row["bounds"] else ""
    return {"defense": row["defense"], "what it does": row["what it does"] + bounds}


def _short(row: dict[str, str]) -> dict[str, str]:
    """Shorten an attack's row to what fits beside each other in 80 columns; ``--json`` has all of it."""
    from torpor.attacks.registry import ATTACKS

    attack = ATTACKS.find(row["name"])
    stage = "control" if attack.is_control else row["stage"]
    paper = f" ({attack.paper.authors}, {attack.paper.venue} {attack.paper.year})" if attack.paper else ""
    does = f"{row['does'].rstrip('.')}{paper}."
    return {"attack": row["name"], "stage": stage, "access": row["access"], "what it does": does}


def _print(rows: list[dict[str, str]], as_json: bool) -> None:
    from rich import box
    from rich.table import Table

    from torpor.cli.console import show
    from torpor.cli.streams import print_json
    from torpor.reports.kit.printable import printable

    if as_json:
        print_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in rows[0]:
        table.add_column(column, no_wrap=column != "what it does")
    for row in rows:
        table.add_row(*map(printable, row.values()))
    show(table)
