"""A griffe extension: what docstrings write for Python's own tools, as Markdown.

Roles such as ``:meth:`Attack.search``` become links, and doctests become blocks of code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`(?P<short>~?)(?P<name>[\w.]+)`")
DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class MarkdownDocstrings(griffe.Extension):
    """Rewrite docstrings once a package is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:  # noqa: ANN401 - what else griffe passes
        """Rewrite every docstring of ``pkg``."""
        for each in _objects(pkg):
            if each.docstring is None:
                continue
            each.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", ROLE.sub(_linker(each), each.docstring.value))


def _objects(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for each in parent.members.values():
        if isinstance(each, griffe.Object):
            yield from _objects(each)


def _linker(scope: griffe.Object) -> Callable[[re.Match[str]], str]:
    """Return what replaces a role in the docstring of ``scope``; where the site has no such name, it is text."""

    def link(found: re.Match[str]) -> str:
        name = found["name"]
        shown = name.rpartition(".")[2] if found["short"] else name
        return f'<autoref identifier="{_path(scope, name)}" optional><code>{shown}</code></autoref>'

    return link


def _path(scope: griffe.Object, name: str) -> str:
    """Return the full path of what ``name`` means in ``scope``, or ``name`` where it means nothing there."""
    first, _, rest = name.partition(".")
    inside: griffe.Object | None = scope
    while inside is not None and first not in inside.all_members:
        inside = inside.parent
    try:
        if inside is None:
            return scope.package[rest].canonical_path if first == scope.package.name else name
        found: griffe.Object | griffe.Alias = inside.all_members[first]
        for part in filter(None, rest.split(".")):
            found = found.all_members[part]
        return found.canonical_path
    except (KeyError, griffe.AliasResolutionError):
        return name
