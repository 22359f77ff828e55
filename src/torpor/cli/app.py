"""The verbs of the command line, and what becomes of their errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from torpor import __version__
from torpor.cli.streams import complain, say
from torpor.cli.verbs import Verbs
from torpor.core.errors import TorporError

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure what inputs can make a dynamic deep-learning system cost, and limit it.",
    epilog="Exit codes: 0 pass, 1 crash, 2 wrong usage, 10 gate failed, 11 inconclusive.",
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"torpor {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure what inputs can make a dynamic deep-learning system cost, and limit it."""


def run() -> int:
    """Run the command line and return the exit code; what is refused becomes one sentence.

    Raises:
        BaseException: whatever was not expected.
    """
    try:
        code = app(standalone_mode=False, prog_name="torpor")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(f"expected files that can be read and written, got: {error}")
    except Exception as error:
        if hasattr(error, "format_message"):  # of typer, whichever library it has it from
            _complain_of_usage(error)
        elif isinstance(error, TorporError):
            complain(str(error))
        else:
            raise
    else:
        return code if isinstance(code, int) else 0
    return 2


def _complain_of_usage(error: Exception) -> None:
    """Say what typer refuses; where it is that nothing was asked for, the help says it all."""
    message, context = error.format_message().strip(), getattr(error, "ctx", None)  # type: ignore[attr-defined]
    if message:
        path = "torpor" if context is None else context.command_path
        complain(f"{message[0].lower()}{message[1:].rstrip('.')}; see: {path} --help")
