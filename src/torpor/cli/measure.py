"""``torpor measure``: what clean inputs cost."""

from __future__ import annotations

from typing import Annotated

import typer

from torpor.cli.options import (
    BatchSize,
    Cap,
    DataDir,
    Device,
    Inputs,
    Json,
    Limit,
    Model,
    Rule,
    TargetName,
    ThreadCount,
    TokenPriceFile,
    with_options,
)


def measure(
    target: TargetName,
    limit: Limit = None,
    batch_size: BatchSize = 128,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    seconds: Annotated[
        bool, typer.Option("--seconds", help="Also price every unit in seconds on this device.")
    ] = False,
    threads: ThreadCount = None,
    model: Model = None,
    prices: TokenPriceFile = None,
    cap: Cap = None,
    max_queries: Annotated[
        int | None,
        typer.Option(
            help="Requests to an openai: server at most; 1,000 by default if it is remote.", show_default=False
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Seconds after which nothing more is sent to it.", show_default=False)
    ] = None,
    max_cost: Annotated[
        str | None,
        typer.Option(help="Cost of all these at most; 1 (dollar) by default if it is remote.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the clean cost profile of TARGET on its test data: cost, tail, accuracy, and latency."""
    from torpor.audits.plan import check_device
    from torpor.audits.profile import clean_profile
    from torpor.audits.run.estimate import chosen_threads
    from torpor.audits.run.job import source
    from torpor.cli.console import show, waiting
    from torpor.cli.profile_table import profile_table
    from torpor.cli.streams import note, print_json
    from torpor.core.errors import UsageError
    from torpor.reports.kit.printable import printable_parts
    from torpor.targets.resolve import load_target

    for name, value in (("limit", limit), ("batch size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"expected a {name} of 1 or more, got {value}")
    check_device(device)
    system = load_target(with_options(target, {"model": model, "prices": prices, "cap": cap}), device=device, rule=rule)
    data = source(system, data_dir, inputs)
    if system.elsewhere:
        if seconds:
            raise UsageError(f"expected a target in this process with --seconds, got {target}; leave it out")
        from torpor.audits.run.requests import begin_measuring

        note(begin_measuring(system, data, limit, (max_queries, max_seconds, max_cost)))
    elif any(given is not None for given in (max_queries, max_seconds, max_cost)):
        raise UsageError(f"expected limits for an openai: server, got some for {target}; leave them out")
    with waiting(f"measuring {target}"), chosen_threads(system, lambda: data, threads):
        profile = clean_profile(system, data, limit=limit, batch_size=batch_size, seconds=seconds)
    if as_json:
        print_json(profile)
    else:
        known = printable_parts(profile)
        show(profile_table(known, system.family.profile_rows(known)))
