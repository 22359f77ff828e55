"""``torpor list``: what there is to audit, to attack with, and to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from torpor.cli.options import Json

TAXONOMY = "taxonomy"
WHAT = ("targets", "attacks", "tamperings", "defenses", "bounds", "measures", "executors", "prices", TAXONOMY)
"""What can be listed."""


def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help=f"{', '.join(WHAT[:-1])} or {WHAT[-1]}.",
            autocompletion=lambda incomplete: [each for each in WHAT if each.startswith(incomplete)],
        ),
    ],
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
    """List WHAT: targets, attacks, defenses and so on, what each is, for what it is, and what it needs and costs."""
    from torpor.core.errors import UsageError, did_you_mean

    if what not in WHAT:
        raise UsageError(
            f"expected something that can be listed ({', '.join(WHAT)}), got {what!r}; {did_you_mean(what, WHAT)}write "
            "torpor list targets"
        )
    if what == TAXONOMY:
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
        raise UsageError(f"expected filters with 'torpor list taxonomy' only, got some for {what}; leave them out")
    from torpor.cli.listed import ROWS, shortened

    rows = ROWS[what]()
    _print(rows if as_json else [shortened(what, row) for row in rows], as_json)


def _print(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    from rich import box
    from rich.table import Table

    from torpor.cli.console import show
    from torpor.cli.streams import print_json
    from torpor.reports.kit.printable import printable

    if as_json:
        print_json(list(rows))
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in rows[0]:
        table.add_column(column, no_wrap=column != "what it does")
    for row in rows:
        table.add_row(*(printable(str(value)) for value in row.values()))
    show(table)
