"""``torpor mine``: which natural inputs are the expensive ones, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.files import write_file
from torpor.cli.options import Device, Json, Prices, Rule, Seed, read_run

if TYPE_CHECKING:
    from torpor.audits.mining.mined import MinedInputs
    from torpor.core.work import PriceList

MOST = 1000
"""Inputs that are listed at most: clusters compare each with each."""
LARGEST = 10**12
"""Largest number that an option takes; logs hold no larger counts either."""


def mine(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="LOG_OR_FOLDER",
            help="Chat requests or OpenTelemetry spans (.jsonl, .json), a trace of a serving tool (.csv, .jsonl), as "
            "they are, packed (.gz) or rotated into a folder; a file of texts, a line each, or a folder of texts, "
            "images or WAV files.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="What runs the inputs, as for torpor audit; without one, the tokens that a log recorded are ranked.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(help=f"Inputs that are listed, at most {MOST:,}.")] = 20,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the inputs that may be run, such as 5%: a random sample, then what a surrogate ranks high.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Inputs that are read, the first ones; all by default.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Audit of the same target, whose attacks are compared.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the listed inputs and their work as a set that torpor check replays."
        ),
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Print nothing of what the inputs say.")] = False,
    prices: Prices = None,
    cap: Annotated[
        int | None,
        typer.Option(
            help="Tokens of an answer at most, where a log does not tell; without --target.", show_default=False
        ),
    ] = None,
    rule: Rule = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Inputs per batch; by the kind of target by default.", show_default=False)
    ] = None,
    device: Device = "cpu",
    seed: Seed = 0,
    as_json: Json = False,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as Markdown.")] = None,
) -> None:
    """Rank the natural inputs of a log or a folder by work, and say which unit makes each expensive."""
    from torpor.cli.streams import note, print_json
    from torpor.core.errors import UsageError

    if not 1 <= top <= MOST:
        raise UsageError(f"expected --top from 1 to {MOST:,}, got {top}")
    for name, value in (("limit", limit), ("batch size", batch_size), ("cap", cap)):
        if value is not None and not 1 <= value <= LARGEST:
            raise UsageError(f"expected a {name} from 1 to {LARGEST:,}, got {value}; leave it out for the default")
    if target is None:
        needing = {"--budget": budget, "--against": against, "--out": out, "--rule": rule}
        if given := [name for name, value in needing.items() if value is not None]:
            raise UsageError(f"expected --target with {given[0]}, got none; name what is to run the inputs")
        found = _recorded(source, limit, top, prices, cap)
    else:
        if cap is not None:
            raise UsageError("expected --cap only without --target, whose own caps count, got both; leave one out")
        found = _run(source, target, top, budget, limit, against, out, prices, rule, batch_size, device, seed)
    found = found.without_text() if no_text else found
    if markdown is not None:
        from torpor.reports.mined import mined_markdown

        write_file(markdown, mined_markdown(found))
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    if out is not None:
        kept = " It holds the inputs themselves, whatever is printed." if no_text else ""
        note(f"Set of {len(found.top)} inputs: {out}; replay it with: torpor check {out}.{kept}")


def _recorded(source: Path, limit: int | None, top: int, prices: str | None, cap: int | None) -> MinedInputs:
    from torpor.audits.mining.mine import mine_tokens
    from torpor.core.errors import UsageError
    from torpor.core.work import PriceList
    from torpor.data.logs.reader import read_log
    from torpor.data.logs.request import UNITS
    from torpor.data.logs.rotated import KINDS, log_kind, logs_in

    if not source.exists():
        raise UsageError(f"expected a log or a folder of inputs, got {source}: no such file; check the path")
    if not (logs_in(source) if source.is_dir() else log_kind(source)):
        raise UsageError(
            f"expected --target with inputs that are no log ({', '.join(KINDS)}), got none for {source}; name what "
            "is to run them"
        )
    own = PriceList("tokens", (1.0,) * len(UNITS))
    return mine_tokens(read_log(source, limit), top=top, prices=_priced(prices, UNITS, own), cap=cap)


def _run(
    source: Path,
    name: str,
    top: int,
    budget: str | None,
    limit: int | None,
    against: Path | None,
    out: Path | None,
    prices: str | None,
    rule: str | None,
    batch_size: int | None,
    device: str,
    seed: int,
) -> MinedInputs:
    from torpor.audits.mining.budgeted import parse_share
    from torpor.audits.mining.inputs import natural_inputs
    from torpor.audits.mining.mine import compared
    from torpor.audits.mining.mine import mine as run
    from torpor.audits.mining.regression_set import write_set
    from torpor.audits.mining.set_folder import require_new
    from torpor.audits.plan import check_device, check_seed
    from torpor.cli.console import bar
    from torpor.targets.resolve import load_target

    check_seed(seed)
    check_device(device)
    share = 1.0 if budget is None else parse_share(budget)
    if out is not None:
        require_new(out)
    audit = None if against is None else read_run(against, prices)
    system = load_target(name, device=device, rule=rule)
    priced = _priced(prices, [unit.name for unit in system.units], system.prices)
    letterbox = bool(getattr(system, "letterbox", False))
    inputs = natural_inputs(source, system.space, letterbox=letterbox, limit=limit)
    with bar() as update:
        found = run(
            system,
            inputs,
            share=share,
            top=top,
            prices=priced,
            batch_size=batch_size,
            seed=seed,
            tell=lambda done, total: update("running inputs", done, total),
        )
    if audit is not None:
        found = compared(found, audit)
    if out is not None:
        units = [unit.name for unit in system.units]
        write_set(out, name, inputs, found.top, system.space, units, system.prices, rule)
    return found


def _priced(prices: str | None, units: list[str] | tuple[str, ...], own: PriceList) -> PriceList:
    if prices is None:
        return own
    from torpor.audits.pricing.prices import load_prices

    return load_prices(prices).price_list(units, own)


def _show(found: MinedInputs) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from torpor.cli.console import show
    from torpor.cli.streams import say
    from torpor.reports.kit.printable import printable
    from torpor.reports.mined import cluster_table, mined_sentences, top_table

    for sentence in mined_sentences(found):
        say(sentence)
    for heads, rows in (top_table(found), cluster_table(found)):
        table = Table(box=box.SIMPLE)
        for head in heads:
            table.add_column(
                head, justify="right" if head in ("rank", "times", "cost", "x median") else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        show(table, columns=200)
