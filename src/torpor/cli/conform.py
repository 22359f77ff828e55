"""``torpor conform``: do the limits of an endpoint hold?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.files import write_file
from torpor.cli.options import Json, TokenPriceFile

if TYPE_CHECKING:
    from torpor.serving.conform.finding import Finding

REQUESTS = 200
"""Requests that the suite may send by default; without quotas it needs fewer than a hundred."""


def conform(
    server: Annotated[
        str,
        typer.Argument(metavar="SERVER", help="openai:http://HOST:PORT/v1, an OpenAI-compatible server."),
    ],
    model: Annotated[
        str | None, typer.Option(help="What the server calls the model; #model=NAME after SERVER does the same.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a prompt at most, unless the server tells.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the server is to end an answer.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="Quota of the key, which is used up; takes over a minute.", show_default=False)
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Requests of the key that are answered at once at most.", show_default=False)
    ] = None,
    dollars_per_key: Annotated[
        float | None,
        typer.Option(
            help="Dollars that the key may spend, which are spent, up to twice of them; with --prices.",
            show_default=False,
        ),
    ] = None,
    prices: TokenPriceFile = None,
    max_queries: Annotated[int, typer.Option(help="Requests at most.")] = REQUESTS,
    max_seconds: Annotated[
        float | None, typer.Option(help="Seconds after which no more is sent.", show_default=False)
    ] = 600,
    json_: Json = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the findings as JUnit XML.")] = None,
    sarif: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the findings as SARIF 2.1.0.")] = None,
) -> None:
    """Send SERVER a small, bounded suite of requests, and say of each limit whether it holds.

    Nothing is sent but to this address. The key is read from TORPOR_API_KEY or OPENAI_API_KEY, and written nowhere.
    Exit codes: 0 every limit that could be observed holds, 10 one does not, 11 none could be observed, 2 wrong usage.
    """
    import json

    from torpor.audits.verdict.gate import overall
    from torpor.cli.streams import note, say
    from torpor.core.errors import UsageError
    from torpor.reports.ci.findings import checks_of
    from torpor.serving.conform.probe import Configured
    from torpor.serving.conform.suite import conform as measure
    from torpor.targets.endpoint.address import Address
    from torpor.targets.endpoint.client import Client
    from torpor.targets.endpoint.prices import read_token_prices
    from torpor.targets.endpoint.spending import Spending

    address = Address.parse(server, model)
    configured = Configured(context, timeout, tokens_per_minute, parallel=parallel, dollars=dollars_per_key)
    if (dollars_per_key is None) != (prices is None):
        raise UsageError("expected --dollars-per-key and --prices FILE together, got one of them; give both, or none")
    spending = Spending(requests=max_queries, seconds=max_seconds)
    spends = ""
    if dollars_per_key is not None and prices is not None:
        spending.prices = read_token_prices(Path(prices).expanduser())
        spends = f"; they may spend over ${2 * dollars_per_key:g}"
    note(
        f"About to send at most {max_queries} requests to {address.url}, which ask for a few thousand tokens in all"
        f"{spends}."
    )
    with Client(address, spending) as client:
        found = measure(client, configured, lambda finding: note(f"  {finding}"))
    note(f"Sent {spending.sent} requests; {spending.tokens[0]:,} tokens read, {spending.tokens[1]:,} written.")
    results = checks_of(found, address.url)
    if junit is not None:
        from torpor.reports.ci.junit import junit_xml

        write_file(junit, junit_xml(results))
    if sarif is not None:
        from torpor.reports.ci.sarif import sarif_json

        write_file(sarif, sarif_json(results, Path(address.model)))
    if json_:
        say(json.dumps({"server": address.url, "model": address.model, "findings": [each.to_json() for each in found]}))
    else:
        _show(found)
    seen = [each for each in results if each.verdict.value != "inconclusive"]
    verdict = overall(seen or results)
    if not json_:
        say(verdict.value.upper())
    raise typer.Exit(verdict.exit_code)


def _show(found: list[Finding]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from torpor.cli.console import show
    from torpor.reports.kit.printable import printable

    table = Table(box=box.SIMPLE)
    for name in ("limit", "verdict", "by", "what was seen"):
        table.add_column(name, justify="right" if name == "by" else "left", overflow="fold")
    for each in found:
        color = "red" if each.standing.is_broken else "green" if each.standing.value == "holds" else "yellow"
        by = f"{each.factor:.4g}x" if each.standing.is_broken and each.factor is not None else ""
        table.add_row(each.limit, Text(each.standing.value, style=color), by, Text(printable(each.told)))
    show(table, columns=200)
