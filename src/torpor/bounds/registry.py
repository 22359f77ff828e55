"""Bounds by the names that the command line and audits use."""

from __future__ import annotations

from torpor.bounds.base import Bound
from torpor.core.registry import Registry

BOUNDS: Registry[Bound] = Registry(
    "torpor.bounds",
    Bound,  # type: ignore[type-abstract]
    {"static": "torpor.bounds.static:Static"},
    "bound",
)
"""Every bound; plug-ins add theirs as entry points of the group ``torpor.bounds``."""


def load_bound(text: str) -> Bound:
    """Build a bound by its specification, such as ``"static"`` or ``"name:key=value"``.

    Raises:
        UsageError: if there is none, or it has no such options.

    >>> load_bound("static").id
    'static'
    """
    return BOUNDS.get(text)
