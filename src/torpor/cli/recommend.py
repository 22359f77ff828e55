"""``torpor recommend``: which caps keep cost within a limit and hurt honest users least?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.cli.options import (
    DataDir,
    Device,
    Inputs,
    Json,
    Norm,
    Resend,
    Rule,
    Seed,
    Steps,
    TargetName,
    resending,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def recommend(
    target: TargetName,
    quantity: Annotated[
        list[str] | None,
        typer.Option(
            help="What must hold for attacked inputs, such as 'p99(cost)<2x' (times the mean clean cost), or for "
            "natural ones, such as 'clean: p99(cost)<1.5x'; may be given several times.",
            show_default=False,
        ),
    ] = None,
    utility_loss: Annotated[str, typer.Option(help="Points of the mean utility that caps may cost, as 1% or 0.01.")] = (
        "1%"
    ),
    utility: Annotated[
        str,
        typer.Option(
            help="own: the target's own measure, which needs references; agreement: the share of outputs that stay as "
            "they are without caps."
        ),
    ] = "own",
    caps: Annotated[
        str | None,
        typer.Option(
            help="Guards to choose from, names from 'torpor list defenses', separated by commas; all that apply by "
            "default.",
            show_default=False,
        ),
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            help="Names from 'torpor list attacks', separated by commas; those for this kind of target by default.",
            show_default=False,
        ),
    ] = None,
    norm: Norm = None,
    eps: Annotated[
        str | None, typer.Option(help="Radius, share, or number of edits; each attack's own by default.")
    ] = (None),
    steps: Steps = None,
    limit: Annotated[int, typer.Option(help="Samples.")] = 64,
    seed: Seed = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per batch; as in an audit by default.", show_default=False)
    ] = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    downstream: Annotated[
        str | None,
        typer.Option(
            metavar="COST",
            help="Cost of each object that a detector or tracker hands on, such as '2 GFLOPs', as in an audit.",
            show_default=False,
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where batches are attacked: local, processes:N, ray, ray:ADDRESS, or a plug-in's.")
    ] = "local",
    threads: Annotated[int, typer.Option(help="Threads of torch, for each worker.")] = 1,
    max_queries: Annotated[
        int | None,
        typer.Option(
            help="Passes of all attacks and runs of the target at most, over all runs of this command; one batch of "
            "samples may pass it. Of an openai: server requests, 1,000 by default if it is remote.",
            show_default=False,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Seconds after which nothing more is attacked; none by default.", show_default=False),
    ] = None,
    resend: Resend = False,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Attack through every choice of caps, which takes much longer.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; runs/recommend-TARGET by default.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Search for the caps of TARGET that keep a limit on cost under adaptive attack at the least loss of utility.

    Writes recommend.json, records, the Pareto front as front.svg, and what was crafted: the same command resumes, and
    another question in the same folder attacks only what is new. Exit codes: 0 there are such caps, 10 there are none,
    and the nearest are named, 11 inconclusive, 2 wrong usage.
    """
    from torpor.audits.plan import check_device
    from torpor.audits.recommend.evidence import UTILITIES
    from torpor.audits.recommend.limits import parse_loss
    from torpor.audits.recommend.run import CapRequest
    from torpor.audits.recommend.run import recommend as search
    from torpor.audits.request import request
    from torpor.audits.run.executors import load_executor
    from torpor.audits.run.limits import Limits
    from torpor.cli.console import bar
    from torpor.cli.files import write_file
    from torpor.cli.streams import note, print_json, say
    from torpor.core.errors import UsageError
    from torpor.meters.threads import check_threads
    from torpor.reports.cap_front import front_svg

    if not quantity:
        raise UsageError("expected --quantity, such as --quantity 'p99(cost)<2x', got none; say what caps must keep")
    if utility not in UTILITIES:
        raise UsageError(f"expected --utility {' or '.join(UTILITIES)}, got {utility!r}")
    check_threads(threads)
    kinds = None if caps is None else tuple(name.strip() for name in caps.split(",") if name.strip())
    if kinds == ():
        raise UsageError("expected names of guards with --caps, got none; see: torpor list defenses")
    limits = Limits(queries=max_queries, seconds=max_seconds)
    check_device(device)
    asked = CapRequest(tuple(quantity), parse_loss(utility_loss), utility, kinds, exhaustive)
    workers = load_executor(executor)
    audit = request(
        *(target, attacks),
        norm=norm,
        eps=eps,
        steps=steps,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        device=device,
        data_dir=data_dir,
        inputs=inputs,
        rule=rule,
        downstream=downstream,
        timed=False,
    )
    resending(audit.target, resend)
    if audit.left_out:
        note(f"Without {', '.join(audit.left_out)}: there is nothing to learn from but what is attacked.")
    folder = out or Path("runs") / f"recommend-{target.replace(':', '.').replace('/', '-')}"
    with bar() as progress:
        found = search(*(asked, audit, folder, progress), executor=workers, limits=limits, threads=threads)
    result = found.to_json()
    shown = found.search.task.attacked
    write_file(folder / "front.svg", front_svg(result, shown[0].gate.limit if shown else None))
    if as_json:
        print_json(result)
    else:
        _show(result)
        for line in result["notes"]:
            say(line)
        say(
            f"{len(result['attacked'])} of {result['choices']} choices were attacked, {result['passes']:,} passes over "
            f"{result['samples']} samples; plot: {folder / 'front.svg'}"
        )
        say(result["sentence"] if found.verdict.value != "inconclusive" else f"INCONCLUSIVE: {found.reason}")
    raise typer.Exit(found.verdict.exit_code)


def _show(result: Mapping[str, Any]) -> None:
    """Print the Pareto front."""
    from rich.table import Table

    from torpor.cli.console import show
    from torpor.reports.kit.printable import printable

    name, unit = printable(result["utility_name"]), printable(result["unit"])
    title = f"Caps of {printable(result['target'])}: {printable(result['quantity'])} in {unit}"
    table = Table("caps", name, "loss", "natural", "attacked", "at most", "static", "", title=title)
    for row in sorted(result["caps"], key=lambda row: row["utility_loss"]):
        if row["front"]:
            marks = [word for word, key in (("recommended", "chosen"), ("attacked", "attacked_itself")) if row[key]]
            numbers = (row[key] for key in ("natural", "attacked", "attacked_at_most", "static"))
            table.add_row(
                printable(row["caps"]),
                f"{row['utility']:.4f}",
                f"{row['utility_loss']:+.4f}",
                *("unknown" if number is None else f"{number:.4g}" for number in numbers),
                ", ".join(marks),
            )
    show(table, columns=120)
