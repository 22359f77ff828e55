"""``torpor init``: write down what a project audits and which gates it must pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.options import DataDir, Device, Inputs, Limit, Norm

if TYPE_CHECKING:
    from torpor.audits.request import Request

GATES = ("p95(slowdown) < 2", "mean(headroom) < 50%")


def init(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="What is audited; the one factory in this folder by default."),
    ] = None,
    attacks: Annotated[
        str | None, typer.Option(help="Names, separated by commas; those for this kind of target by default.")
    ] = None,
    norm: Norm = None,
    eps: Annotated[
        str | None, typer.Option(help="Radii, shares or numbers of edits; the attacks' own if none.")
    ] = None,
    limit: Limit = 200,
    data_dir: DataDir = None,
    inputs: Inputs = None,
    device: Device = "cpu",
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="GATE", help="What must hold; may be given several times.", show_default=False),
    ] = None,
    pyproject: Annotated[
        bool, typer.Option("--pyproject", help="Write a table tool.torpor into pyproject.toml in place of torpor.toml.")
    ] = False,
) -> None:
    """Write torpor.toml, which 'torpor audit' and 'torpor check' read where they are given no arguments.

    The target is loaded once, so that what is written can be run.
    """
    from torpor.audits.request import request
    from torpor.audits.verdict.gate_grammar import parse_gate
    from torpor.cli.console import waiting
    from torpor.cli.files import write_file
    from torpor.cli.project import OWN, SHARED, read_project
    from torpor.cli.streams import say
    from torpor.core.errors import UsageError

    path = Path(SHARED if pyproject else OWN)
    if (there := read_project()) is not None:
        raise UsageError(f"expected a folder without settings of torpor, got {there.path}; edit or delete it")
    name = target or _only_factory()
    with waiting(f"loading {name}"):
        asked = request(name, attacks, norm=norm, eps=eps, limit=limit, data_dir=data_dir, inputs=inputs, device=device)
    gates = list(gate or GATES)
    for text in gates:
        parse_gate(text, currency=asked.target.prices.currency)
    said = _toml(asked, name, gates, "tool.torpor." if pyproject else "")
    before = path.read_text(encoding="utf-8").rstrip() + "\n\n" if pyproject and path.is_file() else ""
    write_file(path, before + said)
    say(f"Wrote {path}. Next: torpor audit --gate (or: torpor audit, then torpor check)")


def _only_factory() -> str:
    """Return the factory in this folder, if it is the only one whose result is declared to be a target.

    Raises:
        UsageError: if there is none, or there are several.
    """
    import ast

    from torpor.core.errors import UsageError

    found = []
    for path in sorted(Path().glob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns).endswith("Target"):
                found += [f"{path.stem}:{node.name}"] if not (node.args.args or node.args.kwonlyargs) else []
    if len(found) == 1:
        return found[0]
    what = f"several in this folder: {', '.join(found[:4])}" if found else "none in this folder"
    raise UsageError(
        f"expected TARGET, or one function -> Target in this folder, got {what}; name it: torpor init my_module:build"
    )


def _toml(asked: Request, name: str, gates: list[str], prefix: str) -> str:
    """Return the settings as TOML; a JSON string or list of strings is one of TOML's too."""
    plan = asked.plan
    settings: dict[str, object] = {
        "target": name,
        "attacks": list(plan.attacks),
        "norm": plan.norm,
        "eps": [f"{round(eps * 255)}/255" if plan.norm == "Linf" else eps for eps in plan.eps] or None,
        "limit": plan.limit,
        "data-dir": plan.data_dir,
        "inputs": plan.inputs,
        "device": None if plan.device == "cpu" else plan.device,
        "out": f"runs/{Path(name.replace(':', '.')).name}",
    }
    lines = [f"[{prefix}audit]  # options of 'torpor audit', by their names"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items() if value is not None]
    lines += ["", f"[{prefix}check]  # options of 'torpor check'"]
    lines += ["gates = [", *(f"  {json.dumps(text)}," for text in gates), "]"]
    return "\n".join(lines) + "\n"
