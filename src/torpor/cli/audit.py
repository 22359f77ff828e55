"""``torpor audit``: attack, meter, bound and report a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.cli.options import (
    Bits,
    Cap,
    DataDir,
    Device,
    DeviceMap,
    DType,
    ImageSize,
    Inputs,
    Limit,
    Model,
    Norm,
    Offset,
    Prompt,
    Raw,
    Resend,
    Rule,
    Sample,
    Seed,
    Steps,
    TargetName,
    ThreadCount,
    TokenPriceFile,
    complete_attacks,
    complete_defenses,
    resending,
    with_options,
)

if TYPE_CHECKING:
    from torpor.audits.plan import Plan
    from torpor.audits.request import Request
    from torpor.audits.run.limits import Limits
    from torpor.data.sets import DataSet


def audit(
    target: TargetName,
    attacks: Annotated[
        str | None,
        typer.Option(
            help="Names from 'torpor list attacks', separated by commas, with options if needed, as in "
            "square:queries=500; those for this kind of target by default.",
            show_default=False,
            autocompletion=complete_attacks,
        ),
    ] = None,
    transfer_from: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Also craft prompts on this target, such as lm-multi30k or hf:FOLDER, and send them to the audited "
            "one: the attack transfer, with --norm prompt or suffix.",
            show_default=False,
        ),
    ] = None,
    norm: Norm = None,
    eps: Annotated[
        str | None,
        typer.Option(
            help="One or more radii, such as 4/255,8/255, shares, such as 2%,8%, or numbers of edits; each "
            "attack's own by default."
        ),
    ] = None,
    steps: Steps = None,
    limit: Limit = None,
    offset: Offset = 0,
    sample: Sample = None,
    seed: Seed = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            "--shard-size",
            help="Samples per batch and shard: a batch is written once it is attacked in every way, and a kill loses "
            "at most the one under way. 128, 16 for targets that iterate, 32 for texts, by default.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    defenses: Annotated[
        str | None,
        typer.Option(
            help="Names from 'torpor list defenses', separated by commas; each faces every attack twice, "
            "non-adaptive and adaptive.",
            show_default=False,
            autocompletion=complete_defenses,
        ),
    ] = None,
    bounds: Annotated[
        str | None,
        typer.Option(
            help="Names from 'torpor list bounds', separated by commas, with options if needed: what no attack of a "
            "row's budget exceeds, beside what was found.",
            show_default=False,
        ),
    ] = None,
    downstream: Annotated[
        str | None,
        typer.Option(
            metavar="COST",
            help="Cost of each object that a detector or tracker hands on, such as '2 GFLOPs' or 2e9: what it costs "
            "those who take it.",
            show_default=False,
        ),
    ] = None,
    threads: ThreadCount = None,
    executor: Annotated[
        str,
        typer.Option(
            help="Where batches are attacked: local, processes:N, ray, ray:ADDRESS, or a plug-in's; --threads is for "
            "each worker then, 1 by default. auto starts processes where that is faster.",
        ),
    ] = "auto",
    max_queries: Annotated[
        int | None,
        typer.Option(
            help="Forward passes of all attacks at most, over all runs of this audit; of an openai: server "
            "requests, 1,000 by default if it is remote.",
            show_default=False,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds after which this run attacks no more; by default 540 for hf: and openai: targets without "
            "another limit, none for others. Samples of hf: and openai: targets share them evenly.",
            show_default=False,
        ),
    ] = None,
    max_cost: Annotated[
        str | None,
        typer.Option(
            help="Cost of all attacks at most, such as '2 TFLOPs' or 2e12, over all runs of this audit; of an "
            "openai: server of all requests, 1 dollar by default if it is remote.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    prices: TokenPriceFile = None,
    resend: Resend = False,
    cap: Cap = None,
    dtype: DType = None,
    device_map: DeviceMap = None,
    bits: Bits = None,
    prompt: Prompt = None,
    image_size: ImageSize = None,
    raw: Raw = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; runs/TARGET by default.", show_default=False)
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Then check the gates of torpor.toml, as torpor check does, with its exit code."),
    ] = False,
) -> None:
    """Attack TARGET, record exact per-sample work, and write audit.json, records, examples and an HTML report.

    An interrupted audit resumes when the same command is given again, one that a limit cut off when it is given with a
    higher one. Without TARGET, the settings of torpor.toml hold, which 'torpor init' writes; options overrule them.
    """
    from torpor.attacks.registry import STANDARD
    from torpor.audits.plan import check_device
    from torpor.audits.read import read_audit
    from torpor.audits.request import request
    from torpor.audits.run.executors import load_executor
    from torpor.audits.run.limits import Limits
    from torpor.cli.console import bar, show_audit, waiting
    from torpor.cli.main import KEPT
    from torpor.cli.streams import note, say
    from torpor.reports.html import write_report

    check_device(device)
    gates = list[str]()
    if gate:
        from torpor.cli.project import gates_of_project

        gates = gates_of_project()
    workers = load_executor(executor)
    loading = {"cap": cap, "dtype": dtype, "device_map": device_map, "bits": bits, "raw": raw}
    target = with_options(
        target, {**loading, "prompt": prompt, "image_size": image_size, "model": model, "prices": prices}
    )
    if target.startswith("hf:") and inputs is not None:
        from torpor.targets.decoder.generation.recordings import seconds_to_read

        target = with_options(target, {"seconds": seconds_to_read(target.removeprefix("hf:"), inputs)})
    if transfer_from is not None:
        from torpor.attacks.text.transfer import spec_from

        attacks = f"{attacks or STANDARD},{spec_from(transfer_from)}"
    with bar() as progress:
        progress(f"loading {target}", 0, 0)
        asked = request(
            *(target, attacks),
            norm=norm,
            eps=eps,
            steps=steps,
            limit=limit,
            offset=offset,
            sample=sample,
            seed=seed,
            batch_size=batch_size,
            device=device,
            data_dir=data_dir,
            inputs=inputs,
            rule=rule,
            defenses=defenses,
            bounds=bounds,
            downstream=downstream,
        )
    resending(asked.target, resend)
    limits = Limits.of(max_queries, max_seconds, max_cost, asked.target.prices.currency)
    if limits == Limits():
        limits = Limits(seconds=asked.target.max_seconds)
    if asked.target.elsewhere:
        from torpor.audits.run.requests import limits_on

        limits = limits_on(asked.target, limits)
    _say_how_it_reads(asked.target.details())
    if asked.left_out:
        say(f"Without {', '.join(asked.left_out)}: there is nothing to learn from but what is audited.")
    folder = out or Path("runs") / (_slug(target) if asked.target.elsewhere else target.replace(":", "."))
    KEPT[:] = [str(folder)]
    with bar() as progress:
        where, used = asked.run(
            *(folder, progress),
            executor=workers,
            limits=limits,
            threads=threads,
            begin=lambda plan, data, at_once: (
                None if plan.constant else note(_planned(asked, plan, data, limits, at_once))
            ),
        )
    here = where.in_process
    note(f"Threads: {used}" if here else f"Threads: {used.used} for each worker of {where}")
    with waiting("writing the report"):
        report = write_report(folder)
    found = read_audit(folder)
    show_audit(found)
    say(f"Report: {report}")
    if asked.plan.bounds:
        from torpor.audits.contradiction import refuse_refuted

        refuse_refuted(found)
    if gates:
        from torpor.cli.app import app

        raise typer.Exit(app(["check", str(folder), *gates], standalone_mode=False) or 0)


def _say_how_it_reads(told: dict[str, Any]) -> None:
    """Say what becomes of inputs before a model of transformers reads them."""
    from torpor.cli.streams import say

    if "chat_template" in told:
        template = told["chat_template"]
        say(f"Chat template: {template or 'none; prompts are sent as they are'}.")
    if "image" in told:
        size = " x ".join(str(told["image"].pop(side)) for side in ("width", "height"))
        counts = ", ".join(f"{name} {count}" for name, count in told["image"].items())
        say(f"Prompt: {told['prompt']!r} beside each image, which is stretched to {size} pixels ({counts}).")
    if "windows" in told:
        least, most_windows = told["windows"]
        say(f"Recordings are read window after window, {least} to {most_windows:,}; shorter ones end in silence.")


def _slug(name: str) -> str:
    """Return the name of a folder for an endpoint."""
    import re

    return re.sub(r"[^\w.-]+", ".", name)


def _planned(asked: Request, plan: Plan, data: DataSet, limits: Limits, at_once: int) -> str:
    """Return what an audit is about to spend, in a sentence."""
    if asked.target.elsewhere:
        from torpor.audits.run.requests import plan_of_requests

        return plan_of_requests(plan, asked.target, data, limits)
    from torpor.audits.run.estimate import plan_of

    return plan_of(asked.estimate, limits, at_once)
