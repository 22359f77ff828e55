"""Where in the user's repository a target is built; nothing is imported, since whoever checks may lack the target."""

from __future__ import annotations

import ast
from pathlib import Path

ROOTS = ("", "src")
"""Folders of a repository in which modules lie."""


def own_factory(name: str, folder: Path = Path()) -> tuple[Path, int] | None:
    """Return the file, relative to ``folder``, and the line of what ``pkg.module:factory`` names; None if it has none.

    Args:
        name: of a target, as the audit was given it.
        folder: of the repository.

    >>> own_factory("sdn-digits"), own_factory("hf:org/model")
    (None, None)
    """
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if not attribute or not all(part.isidentifier() for part in (*parts, attribute)):
        return None
    for root in ROOTS:
        for path in (Path(root, *parts).with_suffix(".py"), Path(root, *parts, "__init__.py")):
            if (folder / path).is_file():
                return path, _line(folder / path, attribute)
    return None


def _line(path: Path, attribute: str) -> int:
    """Return the line in which a name is defined; the first one where it is not seen."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return 1
    for node in tree.body:
        named = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == attribute
        assigned = isinstance(node, ast.Assign) and any(
            isinstance(to, ast.Name) and to.id == attribute for to in node.targets
        )
        if named or assigned:
            return node.lineno
    return 1
