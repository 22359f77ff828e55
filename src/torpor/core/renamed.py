"""Old names of attributes and arguments: each warns, and goes in the next release but one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Renamed:
    """An attribute under its old name.

    Args:
        new: the name that it has now.

    >>> class Lamp:
    ...     watts = 7
    ...     power = Renamed("watts")
    >>> with warnings.catch_warnings(record=True, action="always") as told:
    ...     Lamp().power
    7
    >>> str(told[0].message)
    'Lamp.power is now Lamp.watts'
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, instance: object, owner: type) -> Any:  # noqa: ANN401 - what the attribute is
        warnings.warn(
            f"{owner.__name__}.{self.old} is now {owner.__name__}.{self.new}", DeprecationWarning, stacklevel=2
        )
        return getattr(owner if instance is None else instance, self.new)


def renamed_argument(old: str, new: str) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Return a decorator of a function that takes a keyword argument under its old name too.

    >>> @renamed_argument("power", "watts")
    ... def shine(*, watts):
    ...     return watts
    >>> with warnings.catch_warnings(record=True, action="always") as told:
    ...     shine(power=7)
    7
    >>> str(told[0].message)
    'power of shine is now watts'
    """

    def decorated(function: Callable[Given, Result]) -> Callable[Given, Result]:
        @wraps(function)
        def taking(*args: Given.args, **named: Given.kwargs) -> Result:
            if old in named:
                text = f"{old} of {function.__qualname__.removesuffix('.__init__')} is now {new}"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                named[new] = named.pop(old)
            return function(*args, **named)

        return taking

    return decorated
