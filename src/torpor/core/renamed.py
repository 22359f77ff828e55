"""Old names of attributes: each warns, and goes in the next release but one."""

from __future__ import annotations

import warnings
from typing import Any


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
