"""The verbs by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from torpor.cli.streams import verb

VERBS = {
    "audit": "torpor.cli.audit:audit",
    "measure": "torpor.cli.measure:measure",
    "attack": "torpor.cli.attack:attack",
    "bound": "torpor.cli.bound:bound",
    "check": "torpor.cli.check:check",
    "report": "torpor.cli.report:report",
    "compare": "torpor.cli.compare:compare",
    "study": "torpor.cli.study:study",
    "env": "torpor.cli.env:env",
    "list": "torpor.cli.list_:list_",
    "zoo": "torpor.cli.zoo:zoo",
}
"""The module and the name of each verb: a function, or an application with verbs of its own."""


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


def _command(name: str) -> Any:  # noqa: ANN401 - as above
    module, _, attribute = VERBS[name].partition(":")
    found, alone = getattr(importlib.import_module(module), attribute), typer.Typer()
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(verb(found))
    return typer.main.get_group(alone).commands[name]
