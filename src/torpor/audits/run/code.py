"""Digests of the code that decides what an audit finds: torpor's, and the user's."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import torpor
from torpor.targets.resolve import GROUP, LIBRARIES
from torpor.targets.user_code import code_digests, from_user

PRINTED = ("api", "cli", "reports", "study", "testing")
"""Packages of torpor that hand over or print what others found."""


@cache
def own_code() -> str:
    """Return a digest of torpor's code, which in a checkout changes without a new version.

    >>> len(own_code())
    32
    """
    folder, found = Path(torpor.__file__).parent, hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if name.parts[0] not in PRINTED:
            found.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def user_code(name: str, objects: Iterable[object], plugged: Iterable[object] = ()) -> tuple[dict[str, str], list[str]]:
    """Return digests of the user's modules that an audit ran, by name, and what these do not cover, in words.

    Args:
        name: of the target, as the user typed it.
        objects: the target, its data and its networks, whose classes may be of the user's own.
        plugged: attacks, defenses and bounds, whose classes may be of the user's own or of an installed plug-in.
    """
    roots = [_module(name)] if not name.startswith(tuple(LIBRARIES)) else []
    for each in objects:
        roots += [kind.__module__ for kind in type(each).__mro__ if from_user(kind)]
    modules = (kind.__module__ for each in plugged for kind in type(each).__mro__)
    roots += [module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names]
    return code_digests(root for root in roots if root)


def _module(name: str) -> str:
    """Return the module of a target's factory; empty where there is none."""
    if ":" in name:
        return name.partition(":")[0]
    return next((entry.module for entry in entry_points(group=GROUP) if entry.name == name), "")
