"""The verbs of the command line, each imported when it is asked for, and what becomes of their errors."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from torpor import __version__
from torpor.cli.streams import complain, say, verb
from torpor.core.errors import TorporError

VERBS = {
    "audit": "torpor.cli.audit:audit",
    "measure": "torpor.cli.measure:measure",
    "attack": "torpor.cli.attack:attack",
    "bound": "torpor.cli.bound:bound",
    "tamper": "torpor.cli.tamper:tamper",
    "recommend": "torpor.cli.recommend:recommend",
    "check": "torpor.cli.check:check",
    "check-target": "torpor.cli.check_target:check_target",
    "init": "torpor.cli.init:init",
    "mine": "torpor.cli.mine:mine",
    "conform": "torpor.cli.conform:conform",
    "scan": "torpor.cli.scan:scan",
    "report": "torpor.cli.report:report",
    "compare": "torpor.cli.compare:compare",
    "leaderboard": "torpor.cli.leaderboard:leaderboard",
    "study": "torpor.cli.study:study",
    "env": "torpor.cli.env:env",
    "list": "torpor.cli.list_:list_",
    "zoo": "torpor.cli.zoo:zoo",
}
"""The module and the name of each verb: a function, or an application with verbs of its own."""
OF_PROJECT = ("audit", "check")
"""Verbs that read the settings of a project."""


class Verbs(TyperGroup):
    """A group whose commands are the verbs."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - typer has the type from one library or another
        """Return the verbs in their order in the help."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - as above
        """Return the command of a verb, None if there is no such verb; then all are loaded, to find what was meant."""
        for name in [cmd_name] if cmd_name in VERBS else VERBS:
            if name not in self.commands:
                self.commands[name] = _command(name)
        return self.commands.get(cmd_name)


class OfProject(TyperCommand):
    """A verb that the settings of the project in the current folder are for, where it is given nothing to work on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above
        """Read the words of a command line, those of the project before them: the last one counts."""
        given, *_ = self.make_parser(ctx).parse_args(list(args))
        first = next(each for each in self.params if each.param_type_name == "argument")
        if not (isinstance(given.get(first.name), str) or given.get("help") or ctx.resilient_parsing):
            from torpor.cli.project import project_words

            names = [name[2:] for each in self.params for name in each.opts if name.startswith("--")]
            args = [*project_words(str(self.name), names), *args]
        return super().parse_args(ctx, args)


def _command(name: str) -> Any:  # noqa: ANN401 - as above
    module, _, attribute = VERBS[name].partition(":")
    found, alone = getattr(importlib.import_module(module), attribute), typer.Typer()
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name, cls=OfProject if name in OF_PROJECT else None)(verb(found))
    return typer.main.get_group(alone).commands[name]


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
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
    """Report what typer refuses; a command without arguments prints its help instead."""
    message, context = error.format_message().strip(), getattr(error, "ctx", None)  # type: ignore[attr-defined]
    if message:
        path = "torpor" if context is None else context.command_path
        complain(f"{message[0].lower()}{message[1:].rstrip('.')}; see: {path} --help")
