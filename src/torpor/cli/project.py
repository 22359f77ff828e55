"""The settings of a project, ``torpor.toml`` or ``[tool.torpor]`` in ``pyproject.toml``, as a command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torpor.core.errors import UsageError, did_you_mean

OWN, SHARED = "torpor.toml", "pyproject.toml"
"""Where settings are looked for, in this order, in the current folder."""
JOINED = ("attacks", "eps", "defenses", "bounds")
"""Options that take several values in one word, separated by commas; others are given once for each."""
POSITIONAL = {"audit": {"target": False}, "check": {"run": False, "gates": True}}
"""Keys of each table that are no options, and whether they are lists."""
CHECKED = (
    *("baseline", "tolerance", "allow-different-settings", "junit", "sarif", "summary", "warn", "accept-flag"),
    *("prices", "target"),
)
"""Options of ``torpor check`` that the settings may hold."""


@dataclass(frozen=True)
class Project:
    """What a project wants done.

    Attributes:
        path: of the file that says so.
        tables: settings of each verb, ``audit`` and ``check``, by the names of their options.
    """

    path: Path
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def words(self, verb: str, options: Sequence[str]) -> list[str]:
        """Return the settings of a verb as words of a command line: what is positional first.

        Args:
            verb: ``"audit"`` or ``"check"``.
            options: long names of the verb's options, without dashes in front.

        Raises:
            UsageError: if there is a key that is no option, or a value that is none, or if what is needed is missing.

        >>> settings = {"target": "my:build", "eps": ["4/255", "8/255"], "limit": 64, "raw": True}
        >>> Project(Path("torpor.toml"), {"audit": settings}).words("audit", ["eps", "limit", "raw"])
        ['my:build', '--eps=4/255,8/255', '--limit=64', '--raw']
        """
        table = dict(self.tables.get(verb, {}))
        if verb == "check":
            table.setdefault("run", self.folder)
        first, *_ = POSITIONAL[verb]
        if not table.get(first):
            raise UsageError(f"expected {first} in the table {verb} of {self.path}, got none; add {first} = ...")
        positional, named = list[str](), list[str]()
        for key, value in table.items():
            name = key.replace("_", "-")
            if key in POSITIONAL[verb]:
                continue
            if name not in options:
                known = [*POSITIONAL[verb], *options]
                raise UsageError(
                    f"expected settings of torpor {verb} in {self.path}, got {key!r}; {did_you_mean(name, known)}see: "
                    f"torpor {verb} --help"
                )
            named += self._option(name, value)
        for key in POSITIONAL[verb]:
            positional += self._texts(key, table.get(key, []))
        return [*positional, *named]

    @property
    def folder(self) -> str | None:
        """The folder of the audit; None if no target is named."""
        table = self.tables.get("audit", {})
        target = table.get("target")
        return str(table.get("out") or f"runs/{str(target).replace(':', '.')}") if target else None

    def _option(self, name: str, value: object) -> list[str]:
        if isinstance(value, bool):
            return [f"--{name}"] if value else []
        values = self._texts(name, value)
        return [f"--{name}={','.join(values)}"] if name in JOINED else [f"--{name}={each}" for each in values]

    def _texts(self, key: str, value: object) -> list[str]:
        values = value if isinstance(value, list) else [value]
        if any(isinstance(each, bool) or not isinstance(each, str | int | float) for each in values):
            raise UsageError(f"expected a text, a number or a list of these as {key} in {self.path}, got {value!r:.60}")
        return [str(each) for each in values]


def read_project(folder: Path = Path()) -> Project | None:
    """Return the settings that lie in a folder; None if there are none.

    Raises:
        UsageError: if the file cannot be read, or holds other tables than those of verbs.

    >>> read_project(Path("no such folder")) is None
    True
    """
    for name in (OWN, SHARED):
        path = folder / name
        if not path.is_file():
            continue
        try:
            found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
            raise UsageError(f"expected TOML in {path}, got: {error}; correct it") from error
        if name == SHARED:
            found = found.get("tool", {}).get("torpor", {})
            if not found:
                continue
        for key, table in found.items():
            if key not in POSITIONAL or not isinstance(table, dict):
                raise UsageError(
                    f"expected the tables {' and '.join(POSITIONAL)} in {path}, got {key!r}; "
                    f"{did_you_mean(key, POSITIONAL)}see: torpor init --help"
                )
        return Project(path, found)
    return None


def project_words(verb: str, options: Sequence[str]) -> list[str]:
    """Return what the project in the current folder wants of a verb.

    Raises:
        UsageError: if there is no project, or it does not say.
    """
    project = read_project()
    if project is None:
        first = next(iter(POSITIONAL[verb]))
        raise UsageError(
            f"expected {first.upper()}, or {OWN} in this folder that names it, got neither; see: torpor {verb} --help, "
            "torpor init --help"
        )
    return project.words(verb, options)


def gates_of_project() -> list[str]:
    """Return what the project wants to be checked, as words of a command line after the folder.

    Raises:
        UsageError: if there is no project, or it has no gates.
    """
    project = read_project()
    table = {} if project is None else dict(project.tables.get("check", {}))
    if project is None or not table.keys() & {"gates", "warn", "baseline"}:
        where = "no torpor.toml here" if project is None else f"none in {project.path}"
        raise UsageError(f"expected gates in the table check of torpor.toml with --gate, got {where}; see: torpor init")
    return project.words("check", CHECKED)[1:]
