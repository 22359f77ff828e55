"""``torpor attack``: make attacked inputs and write them to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import DataDir, Device, Inputs, Norm, Rule, Seed, Steps, TargetName, ThreadCount


def attack(
    target: TargetName,
    name: Annotated[str, typer.Argument(metavar="ATTACK", help="A name from 'torpor list attacks'.")],
    out: Annotated[
        Path, typer.Option(help="File for the attacked inputs (safetensors); texts: .texts.parquet beside it.")
    ],
    norm: Norm = None,
    eps: Annotated[
        str | None, typer.Option(help="Radius, share, or number of edits; the attack's own by default.")
    ] = None,
    steps: Steps = None,
    limit: Annotated[int, typer.Option(help="Samples.")] = 128,
    seed: Seed = 0,
    device: Device = "cpu",
    data_dir: DataDir = None,
    inputs: Inputs = None,
    rule: Rule = None,
    threads: ThreadCount = None,
) -> None:
    """Attack the first test samples of TARGET with one attack and write clean and attacked inputs."""
    from torpor.attacks.registry import attack_for, load_attack
    from torpor.audits.lock import beside_audit, refuse_own_files
    from torpor.audits.plan import check_device, check_seed
    from torpor.audits.run.estimate import chosen_threads
    from torpor.audits.run.job import source
    from torpor.audits.run.rows import save_examples, stored_references
    from torpor.cli.console import waiting
    from torpor.cli.streams import say
    from torpor.core.errors import UsageError
    from torpor.core.space import DenseSpace
    from torpor.targets.resolve import load_target

    if limit < 1:
        raise UsageError(f"expected a limit of 1 or more, got {limit}")
    check_seed(seed)
    if out.is_dir():
        raise UsageError(f"expected a file to write, got the folder {out}; name a file in it")
    refuse_own_files(out)
    check_device(device)
    system = load_target(target, device=device, rule=rule)
    shape = system.space.shape if isinstance(system.space, DenseSpace) else None
    chosen = load_attack(attack_for(name, system), norm=norm, eps=eps, steps=steps, shape=shape)
    chosen.check(system)
    data = source(system, data_dir, inputs)
    batch = data.load("test", limit)
    with (
        chosen_threads(system, lambda: data, threads),
        waiting(f"{name} on {len(batch)} samples"),
    ):
        chosen = chosen.fitted(system, data, seed)
        result = chosen(
            system, system.read(batch.inputs), references=batch.references if len(batch.references) else None, seed=seed
        )
    examples = {
        "index": batch.index,
        **stored_references(batch.references),
        "clean": system.space.to_bytes(result.clean_inputs),
        "attacked": system.space.to_bytes(result.inputs),
        "work_clean": result.clean.work.counts,
        "work": result.attacked.work.counts,
    }
    try:
        with beside_audit(out):
            files = save_examples(out, examples)
    except OSError as error:
        raise UsageError(f"expected a file that can be written, got {out}: {error}") from error
    written = " and ".join(map(str, files))
    evidence = result.evidence(system)
    slowdown = evidence.cost / evidence.clean
    criterion = system.family.success
    say(
        f"{name} ({chosen.budget}) on {len(batch)} samples: mean slowdown {slowdown.mean():.2f}x, "
        f"worst {slowdown.max():.2f}x, same output on {evidence.agrees.mean():.1%}, "
        f"{criterion} on {criterion(evidence).mean():.1%}, {result.seconds:.1f} s. Inputs: {written}"
    )
