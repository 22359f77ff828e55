"""Which process this is: what is counted in memory is counted for one process, and children get a copy of it."""

from __future__ import annotations

import multiprocessing
import os
import secrets

_name = secrets.token_hex(8)  # numbers of processes come back, this does not


def this_process() -> str:
    """Return a name that no other process has, forked ones included.

    >>> this_process() == this_process()
    True
    """
    return _name


def is_worker() -> bool:
    """Tell whether multiprocessing started this process, to work for another one."""
    return multiprocessing.parent_process() is not None


def _forked() -> None:
    global _name
    _name = secrets.token_hex(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
