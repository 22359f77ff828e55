"""Specifications that users type: a name and options, such as ``square:queries=500`` or ``jpeg:75``."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any

from torpor.core.errors import UsageError, did_you_mean

MARK = ":"
"""What stands between a name and its options, and between options."""


@dataclass(frozen=True)
class Spec:
    """A name with options, as a user typed it.

    Attributes:
        name: of what is meant.
        value: the option without a name, as 75 in ``jpeg:75``; empty if there is none.
        options: the options with names, as texts.

    >>> Spec.of("square", "queries=500:p=0.1")
    Spec(name='square', value='', options={'queries': '500', 'p': '0.1'})
    >>> Spec.of("jpeg", "75").value
    '75'
    """

    name: str
    value: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, rest: str) -> Spec:
        """Read what follows a name and a colon.

        Raises:
            UsageError: if an option without a name is not the first, or a name is there twice.
        """
        value, options = "", dict[str, str]()
        for place, part in enumerate(rest.split(MARK) if rest else ()):
            key, equals, text = part.partition("=")
            if not equals and place == 0:
                value = part
            elif not equals or not key.isidentifier():
                raise UsageError(f"expected {name}:KEY=VALUE:KEY=VALUE, got {part!r}; write it so")
            elif key in options:
                raise UsageError(f"expected {key} once in {name}:{rest}, got it twice; leave one out")
            else:
                options[key] = text
        return cls(name, value, options)


def typed(kind: type, options: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return options as the fields of a dataclass have them.

    Args:
        kind: a dataclass whose fields are numbers, texts, one of some texts, or truth values, perhaps None.
        options: texts by the field's name.
        name: what messages call it.

    Raises:
        UsageError: on an option that ``kind`` does not have, or a text that is not a value of its field.

    >>> from torpor.core.threat import Paper
    >>> typed(Paper, {"year": "2021"}, "paper")
    {'year': 2021}
    """
    own = {each.name for each in fields(kind) if each.init} if is_dataclass(kind) else set()
    hints = typing.get_type_hints(kind) if options else {}
    known = sorted(key for key in own if set(_kinds(hints.get(key))) - {NoneType})
    for key in options:
        if key not in known:
            raise UsageError(
                f"expected an option of {name} among {', '.join(known) or 'none'}, got {key!r}; "
                f"{did_you_mean(key, known)}leave it out or correct it"
            )
    found = {key: _read(text, _kinds(hints[key]), f"{name}:{key}") for key, text in options.items()}
    for key, value in found.items():
        if (texts := _choices(hints[key])) and value not in texts:
            raise UsageError(f"expected {name}:{key} to be {' or '.join(texts)}, got {value!r}")
    return found


def _kinds(hint: object) -> tuple[type, ...]:
    """Return which types the text of an option can be read as; none if it cannot."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        parts = typing.get_args(hint)
        return tuple(kind for part in parts for kind in _kinds(part))
    if _choices(hint):
        return (str,)
    if isinstance(hint, type) and hint in (bool, int, float, str, NoneType):
        return (hint,)
    return ()


def _choices(hint: object) -> tuple[str, ...]:
    """Return the texts that a ``Literal`` allows; none if it is something else."""
    allowed = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    return allowed if all(isinstance(each, str) for each in allowed) else ()


def _read(text: str, kinds: tuple[type, ...], name: str) -> object:
    if NoneType in kinds and text == "none":
        return None
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    for kind in (kind for kind in (int, float) if kind in kinds):
        try:
            return kind(text)
        except ValueError:
            continue
    if str in kinds:
        return text
    words = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}
    raise UsageError(f"expected {name} to be {' or '.join(words[kind] for kind in kinds)}, got {text!r}")
