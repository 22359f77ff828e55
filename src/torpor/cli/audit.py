"""``torpor audit``: attack, meter, bound and report a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import DataDir, Device, Inputs, Limit, Norm, Rule, Seed, Steps, TargetName, ThreadCount


def audit(
    target: TargetName,
    attacks: Annotated[
        str | None,
        typer.Option(
            help="Names from 'torpor list attacks', separated by commas, with options if need be, as in "
            "square:queries=500; those for this kind of target by default.",
            show_default=False,
        ),
    ] = None,
    norm: Norm = None,
    eps: Annotated[
        str | None,
        typer.Option(help="One or more radii, such as 4/255,8/255, or numbers of edits; each attack's own by default."),
    ] = None,
    steps: Steps = None,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Samples per batch; 128, or 16 for targets that iterate, by default.", show_default=False),
    ] = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    defenses: Annotated[
        str | None,
        typer.Option(
            help="Names from 'torpor list defenses', separated by commas; each faces every attack twice, blind and "
            "adaptive.",
            show_default=False,
        ),
    ] = None,
    threads: ThreadCount = None,
    executor: Annotated[
        str,
        typer.Option(
            help="Where batches are attacked: local, processes:N, ray, ray:ADDRESS, or a plug-in's; --threads is for "
            "each worker then, 1 by default.",
        ),
    ] = "local",
    max_queries: Annotated[
        int | None,
        typer.Option(help="Forward passes of all attacks at most, over all runs of this audit.", show_default=False),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Seconds after which this run attacks no more.", show_default=False)
    ] = None,
    max_cost: Annotated[
        str | None,
        typer.Option(
            help="Cost of all attacks at most, such as '2 TFLOPs' or 2e12, over all runs of this audit.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; runs/TARGET by default.", show_default=False)
    ] = None,
) -> None:
    """Attack TARGET, record exact per-sample work, and write audit.json, records, examples and an HTML report.

    An interrupted audit goes on when the same command is given again, one that a limit cut off when it is given with a
    higher one.
    """
    from torpor.attacks.registry import attack_class, default_attacks
    from torpor.audits.engine import run_audit
    from torpor.audits.estimate import estimate
    from torpor.audits.executors import load_executor
    from torpor.audits.limits import Limits, parse_cost
    from torpor.audits.plan import Plan, check_device, default_batch_size, parse_eps
    from torpor.audits.source import source
    from torpor.audits.workload import chosen_threads
    from torpor.cli.console import show_audit
    from torpor.cli.progress import bar
    from torpor.cli.streams import note, say
    from torpor.core.errors import UsageError
    from torpor.core.space import DenseSpace
    from torpor.reports.html import write_report
    from torpor.targets.resolve import load_target

    check_device(device)
    workers = load_executor(executor)
    system = load_target(target, device=device, rule=rule)
    most = None if max_cost is None else parse_cost(max_cost, system.prices.currency)
    limits = Limits(max_queries, max_seconds, most)
    chosen = default_attacks(system) if attacks is None else attacks.split(",")
    learners = [name for name in chosen if attack_class(name).learns] if attacks is None else []
    if learners and not source(system, data_dir, inputs).has("validation"):
        chosen = [name for name in chosen if name not in learners]
        say(f"Without {', '.join(learners)}: there is nothing to learn from but what is audited.")
    names = tuple(dict.fromkeys(name.strip() for name in chosen if name.strip()))
    plan = Plan(
        target=target,
        attacks=tuple(name for name in names if not attack_class(name).is_control),
        norm=norm,
        eps=parse_eps(norm, eps),
        steps=steps,
        limit=limit,
        seed=seed,
        batch_size=default_batch_size(system) if batch_size is None else batch_size,
        device=device,
        data_dir=str(data_dir) if data_dir else None,
        inputs=str(inputs) if inputs else None,
        rule=rule,
        shape=system.space.shape if isinstance(system.space, DenseSpace) else None,
        defenses=tuple(name.strip() for name in (defenses or "").split(",") if name.strip()),
    )
    if defenses is not None and not plan.defenses:
        raise UsageError("expected names of defenses, got none; see: torpor list defenses")
    folder = out or Path("runs") / target.replace(":", ".")
    asked = threads if workers.in_process or threads is not None else 1
    with chosen_threads(system, lambda: source(system, data_dir, inputs), asked) as number:
        with bar() as progress:
            run_audit(
                *(plan, system, folder, progress),
                executor=workers,
                limits=limits,
                threads=number.used,
                begin=lambda on, data: note(f"About to attack {estimate(on, system, data)}"),
            )
        note(f"Threads: {number}" if workers.in_process else f"Threads: {number.used} for each worker of {executor}")
    report = write_report(folder)
    show_audit(folder)
    say(f"Report: {report}")
