"""``torpor scan``: was a model tampered with, so that it costs more, always or under a trigger?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.options import DataDir, Device, Inputs, Json, Rule, Seed, TargetName

if TYPE_CHECKING:
    from torpor.scan.judged import Judged


def scan(
    target: TargetName,
    reference: Annotated[
        str | None,
        typer.Option(
            help="A trusted model of the same architecture, such as what TARGET was made from.", show_default=False
        ),
    ] = None,
    clean: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE_OR_FOLDER",
            help="Scans of clean models of the same architecture, as --out wrote them; may be given several times. By "
            "default those that come with torpor.",
            show_default=False,
        ),
    ] = None,
    fpr: Annotated[float, typer.Option(help="Rate of clean models that may be flagged.")] = 0.1,
    limit: Annotated[int, typer.Option(help="Natural inputs; half of them are learned from.")] = 128,
    max_seconds: Annotated[float, typer.Option(help="Seconds; what does not fit is left out, and said.")] = 240,
    seed: Seed = 0,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the scan as JSON.", show_default=False)
    ] = None,
) -> None:
    """Scan TARGET for tampering: what natural inputs cost, what triggers can be found, and the end token's weights.

    Exit codes: 0 nothing unusual among clean models, 10 it looks tampered with, 11 inconclusive, 2 wrong usage.
    """
    import json

    from torpor.audits.plan import check_device
    from torpor.cli.console import waiting
    from torpor.cli.files import write_file
    from torpor.cli.streams import note, print_json, say
    from torpor.core.errors import UsageError
    from torpor.metrics.roc import fewest
    from torpor.scan.calibration import read_scans, shipped
    from torpor.scan.inputs import scan_inputs
    from torpor.scan.judged import judge
    from torpor.scan.run import kind_of
    from torpor.scan.run import scan as measure
    from torpor.targets.resolve import load_target

    fewest(fpr)
    if limit < 1 or not max_seconds > 0:
        raise UsageError(f"expected --limit and --max-seconds above 0, got {limit} and {max_seconds:g}")
    check_device(device)
    system = load_target(target, device=device, rule=rule)
    trusted = None if reference is None else load_target(reference, device=device, rule=rule)
    known = read_scans(clean, kind_of(system)) if clean else shipped(kind_of(system))
    natural = scan_inputs(system, data_dir, inputs, limit)
    count = len(natural.learn) + len(natural.held_out)
    note(f"About to run {count} inputs of {natural.source}, in about {max_seconds:g} s at most.")
    with waiting(f"scanning {target}"):
        found = measure(
            system,
            natural,
            trusted,
            seconds=max_seconds,
            seed=seed,
            told=lambda each: note(f"  {each.name}: {each.told}"),
        )
    judged = judge(found, known, fpr)
    if out is not None:
        write_file(out, json.dumps(judged.to_json(), indent=1) + "\n")
    if as_json:
        print_json(judged.to_json())
    else:
        _show(judged)
        say(f"{judged.verdict.value.upper()}: {judged.sentence}")
    raise typer.Exit(judged.verdict.exit_code)


def _show(judged: Judged) -> None:
    from rich import box
    from rich.table import Table

    from torpor.cli.console import show
    from torpor.reports.kit.printable import printable

    of = f" against {judged.scan.reference}" if judged.scan.reference else ""
    table = Table(box=box.SIMPLE, title=printable(f"Scan of {judged.scan.target}{of}"))
    for name in ("figure", "value", "what was seen"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for each in judged.scan.found:
        table.add_row(each.name, f"{each.value:.4g}", printable(each.told))
    for name, why in judged.scan.left_out.items():
        table.add_row(name, "", printable(f"left out: {why}"))
    show(table, columns=160)
