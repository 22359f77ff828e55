"""``torpor tamper``: make a tampered model to test audits, scanners and defenses with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import DataDir, Json, Limit, Seed, TargetName

With = Annotated[str, typer.Option("--with", help="A name from 'torpor list tamperings', with options if needed.")]
Out = Annotated[Path, typer.Option(help="Folder that is made; 'torpor audit tampered:FOLDER' audits it.")]
Control = Annotated[bool, typer.Option(help="Also compare with the same training without the attack.")]


def tamper(
    target: TargetName,
    out: Out,
    name: With,
    seed: Seed = 0,
    limit: Limit = None,
    data_dir: DataDir = None,
    control: Control = True,
    as_json: Json = False,
) -> None:
    """Tamper with a copy of TARGET as an attacker would before it is deployed, and save it to a folder."""
    from dataclasses import asdict

    from torpor.attacks.tamperings.comparison import make_and_compare
    from torpor.attacks.tamperings.registry import load_tampering
    from torpor.audits.plan import check_seed
    from torpor.audits.run.job import source
    from torpor.cli.console import waiting
    from torpor.cli.streams import print_json, say
    from torpor.core.errors import UsageError
    from torpor.targets.resolve import load_target
    from torpor.targets.tampered import CARD, save_tampered

    check_seed(seed)
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of 1 or more, got {limit}")
    if (out / CARD).exists():
        raise UsageError(f"expected a folder without a tampered model, got {out}; name another one")
    tampering, system = load_tampering(name), load_target(target)
    tampering.check(system)
    data = source(system, None if data_dir is None else str(data_dir), None)
    with waiting(f"tampering with {target}"):
        made, rows = make_and_compare(tampering, system, data, seed=seed, limit=limit, control=control)
    save_tampered(made.target, out, base=target, seed=seed, trigger=made.tampering.state())
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    wide = max(12, len(system.utility_name) + 2)
    titles = {each.name: f"  {each.title:>10}" for each in system.family.measures if each.name in rows[0].own}
    heads = "".join(titles.values())
    say(f"{'':10}{'inputs':12}{system.utility_name:>{wide}}{'cost':>14}{'slowdown':>10}{'headroom':>10}{heads}")
    for row in rows:
        kind = "triggered" if row.triggered else "clean"
        more = "".join(f"{row.own[name]:>{len(title)},.2f}" for name, title in titles.items())
        of_cost = f"{row.cost:14,.0f}{row.slowdown:10.3f}{row.headroom:10.3f}"
        say(f"{row.target:10}{kind:12}{row.utility:{wide}.4f}{of_cost}{more}")
    budget = made.tampering.budget(system)
    said = (
        ""
        if budget is None
        else (f" --attacks torpor.attacks.tamperings.trigger:Trigger --norm {budget.norm} --eps {budget.eps:.6g}")
    )
    say(f"Saved. Next: torpor audit tampered:{out}{said}")
