"""The ``torpor`` command: one file per verb, errors in one sentence, exit codes for machines."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from torpor import __version__
from torpor.cli.attack import attack
from torpor.cli.audit import audit
from torpor.cli.bound import bound
from torpor.cli.check import check
from torpor.cli.compare import compare
from torpor.cli.env import env
from torpor.cli.list_ import list_
from torpor.cli.measure import measure
from torpor.cli.report import report
from torpor.cli.study import study
from torpor.cli.zoo import zoo

# Threads that wait for work sleep: on a busy machine those that spin can make a run take thirty times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure what inputs can make a dynamic deep-learning system cost, and bolt it down.",
    epilog="Exit codes: 0 pass, 1 crash, 2 wrong usage, 10 gate failed, 11 inconclusive.",
)
for verb in (audit, measure, attack, bound, check, report, compare, study, env):
    app.command()(verb)
app.command("list")(list_)
app.add_typer(zoo, name="zoo")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torpor {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure what inputs can make a dynamic deep-learning system cost, and bolt it down."""


def main() -> None:
    """Run the command line; what torpor refuses on purpose becomes one sentence and exit code 2."""
    try:
        app()
    except Exception as error:
        from torpor.core.errors import TorporError  # not before: torpor.core loads torch, which --help can do without

        if isinstance(error, OSError):
            typer.echo(f"torpor: expected files that can be read and written, got: {error}", err=True)
        elif isinstance(error, TorporError):
            typer.echo(f"torpor: {error}", err=True)
        else:
            raise
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("torpor: interrupted; the same command goes on where this one stopped", err=True)
        sys.exit(130)
