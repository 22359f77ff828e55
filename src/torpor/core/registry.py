"""Registries of classes by name, from the package, plug-ins or a module, and the specifications that users type."""

from __future__ import annotations

import importlib
import os
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar

from torpor.core.errors import UsageError, did_you_mean

MARK = ":"
"""What stands between a name and its options, and between options."""

T = TypeVar("T")


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


class Registry(Generic[T]):
    """Classes by name; nothing is imported before it is asked for.

    A name is one of the package's own, one of an installed plug-in's (an entry point of ``group``), or
    ``pkg.module:Class``, whose module is also looked for in the current folder. The package's own names win.

    Args:
        group: of the entry points that plug-ins declare.
        base: what every class must be a subclass of.
        builtin: ``"module:Class"`` by name, in the order of :meth:`names`.
        what: a word for messages, such as ``"attack"``.

    >>> from torpor.core.errors import TorporError
    >>> errors = Registry("torpor.none", TorporError, {"data": "torpor.core.errors:DataError"}, "error")
    >>> errors.names(), errors.find("data").__name__, errors.find("torpor.core.errors:MeterError").__name__
    (('data',), 'DataError', 'MeterError')
    """

    def __init__(self, group: str, base: type[T], builtin: Mapping[str, str], what: str) -> None:
        self.group, self.base, self.what = group, base, what
        self._builtin = dict(builtin)

    def names(self) -> tuple[str, ...]:
        """Return every name, the package's own first."""
        return tuple(dict.fromkeys((*self._builtin, *sorted(_plugins(self.group)))))

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in _plugins(self.group)

    def spec(self, text: str) -> Spec:
        """Split what a user typed into a name and its options.

        Raises:
            UsageError: if an option cannot be read.
        """
        name, _, rest = text.partition(MARK)
        if name not in self and is_path(text):
            attribute, _, rest = rest.partition(MARK)
            name = f"{name}{MARK}{attribute}"
        return Spec.of(name, rest)

    def find(self, name: str) -> type[T]:
        """Return the class that is called so.

        Raises:
            UsageError: if there is none, its module cannot be imported, or it is something else.
        """
        if name in self._builtin:
            found = _load(self._builtin[name])
        elif name in _plugins(self.group):
            found = load_entry(_plugins(self.group)[name])
        elif is_path(name):
            found = load_path(name)
        else:
            raise UsageError(
                f"expected {a(self.what)} by its name or as pkg.module:Class, got {name!r}; "
                f"{did_you_mean(name, self.names())}see: torpor list {self.what}s"
            )
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise UsageError(f"expected {name} to be a subclass of torpor's {self.base.__name__}, got {found!r}")
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise UsageError(f"expected {name} to define {', '.join(missing)}, got none; write what is missing")
        return found

    def get(self, text: str) -> T:
        """Return an object by its specification, such as ``"name"`` or ``"name:key=value:key=value"``.

        Raises:
            UsageError: if there is no such class, or it has no such options.
        """
        spec = self.spec(text)
        kind = self.find(spec.name)
        if spec.value:
            raise UsageError(f"expected {spec.name}:KEY=VALUE, got {text!r}; name the option")
        return kind(**typed(kind, spec.options, spec.name))


@cache
def _plugins(group: str) -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _load(path: str) -> object:
    module, _, attribute = path.partition(MARK)
    found: object = getattr(importlib.import_module(module), attribute)
    return found


def load_entry(entry: EntryPoint) -> object:
    """Return what a plug-in's entry point names.

    Raises:
        UsageError: if it cannot be loaded.
    """
    try:
        found: object = entry.load()
    except (Exception, SystemExit) as error:  # a plug-in may raise anything
        raise UsageError(
            f"expected plug-in {entry.name!r} ({entry.value}) to load, got {type(error).__name__}: {error}; "
            "fix or uninstall it"
        ) from error
    return found


def is_path(text: str) -> bool:
    """Tell whether a text starts like ``pkg.module:Name``.

    >>> is_path("my.attacks:Mine:steps=3"), is_path("jpeg:75"), is_path("square:queries=500")
    (True, False, False)
    """
    module, _, attribute = text.partition(MARK)
    return all(part.isidentifier() for part in module.split(".")) and attribute.split(MARK)[0].isidentifier()


def load_path(name: str) -> object:
    """Return what ``pkg.module:Name`` names; the module is also looked for in the current folder.

    Raises:
        UsageError: if the module cannot be imported, or has no such name.
    """
    module_name, _, attribute = name.partition(MARK)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise UsageError(
            f"expected a module that can be imported, got {module_name!r}: {type(error).__name__}: "
            f"{error}{_missing(error, module_name)}"
        ) from error
    if not hasattr(module, attribute):
        file, own = getattr(module, "__file__", None), f"{module_name.partition('.')[0]}.py"
        shadowed = os.path.isfile(own) and (file is None or not os.path.samefile(own, file))
        help_ = f"that is {file or 'built in'}, not the {own} here; rename yours" if shadowed else "check the spelling"
        near = "" if shadowed else did_you_mean(attribute, vars(module))
        raise UsageError(f"expected {attribute!r} in {module_name}, got none; {near}{help_}")
    found: object = getattr(module, attribute)
    return found


def _missing(error: BaseException, module: str) -> str:
    """Say what to do about a module that is not there; nothing about another error."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    if module == error.name or module.startswith(f"{error.name}."):
        return f"; run torpor in the folder of {error.name.replace('.', '/')}.py, or install its package"
    return f"; install {error.name.partition('.')[0]}, which {module} imports"


def a(word: str) -> str:
    """Return a word with its indefinite article.

    >>> a("attack"), a("defense")
    ('an attack', 'a defense')
    """
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
