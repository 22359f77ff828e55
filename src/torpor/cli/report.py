"""``torpor report``: show a finished audit again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import Prices, read_run


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished audit.")],
    prices: Prices = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE",
            help="What must hold, as for torpor check: the verdict begins with it. May be given several times.",
            show_default=False,
        ),
    ] = None,
    accept_flag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Flag that does not make a pass inconclusive.", show_default=False),
    ] = None,
) -> None:
    """Print the table of a finished audit and rewrite its HTML report.

    With --prices, costs are those of the price list, and the report is report-CURRENCY.html; nothing else is written.
    Gates are shown; torpor check makes an exit code of them.
    """
    from torpor.audits.evidence import check_flags
    from torpor.audits.verdict.gate import evaluate_gates
    from torpor.audits.verdict.gate_grammar import parse_gate
    from torpor.cli.console import show_audit, waiting
    from torpor.cli.streams import say
    from torpor.core.errors import UsageError
    from torpor.reports.html import write

    if accept_flag and not gate:
        raise UsageError("expected --gate with --accept-flag, got none; name what must hold")
    audit, accepted = read_run(run, prices), check_flags(accept_flag or ())
    parsed = [parse_gate(text, audit.catalog, audit.currency) for text in gate or ()]
    results = evaluate_gates(audit, parsed, accepted)
    with waiting("writing the report"):
        path = write(audit, "report.html" if prices is None else f"report-{audit.currency}.html", results)
    show_audit(audit)
    say(f"Report: {path}")
