"""``torpor check-target``: does a target keep its contract?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.options import Cap, DataDir, Device, Inputs, Json, Rule, TargetName, with_options

if TYPE_CHECKING:
    from torpor.audits.contract.line import ContractLine
    from torpor.data.sets import Batch
    from torpor.targets.base import Target

SCHEMA = "torpor.contract/1"


def check_target(
    target: TargetName,
    limit: Annotated[
        int | None,
        typer.Option(help="Samples of its data that it is tried on; 8, of videos 1 by default.", show_default=False),
    ] = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    cap: Cap = None,
    as_json: Json = False,
) -> None:
    """Check that TARGET keeps its contract: its work is counted right, bounded, and each sample's own.

    Exit codes: 0 pass, 10 something is broken, 2 wrong usage.
    """
    from torpor.audits.contract.suite import contract_of, verdict_of
    from torpor.audits.contract.trial import Trial
    from torpor.audits.plan import check_device
    from torpor.cli.console import bar
    from torpor.cli.streams import print_json, say
    from torpor.core.errors import UsageError
    from torpor.targets.resolve import load_target

    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of 1 or more, got {limit}")
    check_device(device)
    name = with_options(target, {"cap": cap})
    lines: list[ContractLine] = []
    with bar() as progress:
        progress(f"loading {name}", 0, 0)
        system = load_target(name, device=device, rule=rule)
        if system.elsewhere:
            raise UsageError(
                f"expected a target that runs here, got {name}, whose requests may be billed; see: torpor conform"
            )
        batch = _some(system, data_dir, inputs, limit or (1 if system.space.kind == "video" else 8))
        trial = Trial(system, batch, lambda: load_target(name, device=device, rule=rule))
        lines += contract_of(trial, lambda check: progress(f"checking {check}", 0, 0))
    verdict = verdict_of(lines)
    if as_json:
        findings = [line.to_json() for line in lines]
        print_json({"schema": SCHEMA, "target": system.name, "verdict": verdict.value, "lines": findings})
    else:
        _show(lines)
        samples = "noise alone: it has no data here" if batch is None else f"{len(batch)} samples of its data"
        say(f"{verdict.value.upper()}: {system.name}, tried on {samples}")
    raise typer.Exit(verdict.exit_code)


def _some(system: Target, data_dir: object, inputs: object, limit: int) -> Batch | None:
    """Return the first samples; None if the target has no data and can be tried on noise."""
    from pathlib import Path

    from torpor.audits.run.job import source
    from torpor.core.errors import DataError
    from torpor.core.space import DenseSpace

    given = [None if each is None else Path(str(each)) for each in (data_dir, inputs)]
    try:
        return source(system, *given).load("test", limit)
    except DataError:
        if any(given) or not isinstance(system.space, DenseSpace):
            raise
        return None


def _show(lines: list[ContractLine]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from torpor.cli.console import show
    from torpor.reports.kit.printable import printable

    colors = {"pass": "green", "fail": "red", "skipped": "yellow"}
    table = Table(box=box.SIMPLE)
    for name in ("check", "verdict", "what was seen, and what to do"):
        table.add_column(name, overflow="fold")
    for line in lines:
        told = f"{line.told}{'; ' * bool(line.advice)}{line.advice}"
        table.add_row(line.check, Text(line.verdict, style=colors[line.verdict]), Text(printable(told)))
    show(table, columns=120)
