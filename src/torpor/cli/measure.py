"""``torpor measure``: what clean inputs cost."""

from __future__ import annotations

from typing import Annotated

import typer

from torpor.cli.options import BatchSize, DataDir, Device, Inputs, Json, Limit, Rule, TargetName, ThreadCount


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
    as_json: Json = False,
) -> None:
    """Print the clean cost profile of TARGET on its test data: cost, tail, accuracy, and latency."""
    from torpor.audits.plan import check_device
    from torpor.audits.profile import clean_profile
    from torpor.audits.run.estimate import chosen_threads
    from torpor.audits.run.job import source
    from torpor.cli.console import show
    from torpor.cli.profile_table import profile_table
    from torpor.cli.streams import print_json
    from torpor.core.errors import UsageError
    from torpor.reports.kit.printable import printable_parts
    from torpor.targets.resolve import load_target

    for name, value in (("limit", limit), ("batch size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"expected a {name} of 1 or more, got {value}")
    check_device(device)
    system = load_target(target, device=device, rule=rule)
    data = source(system, data_dir, inputs)
    with chosen_threads(system, lambda: data, threads):
        profile = clean_profile(system, data, limit=limit, batch_size=batch_size, seconds=seconds)
    if as_json:
        print_json(profile)
    else:
        known = printable_parts(profile)
        show(profile_table(known, system.family.profile_rows(known)))
