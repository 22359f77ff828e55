"""The errors that torpor raises on purpose. Each message reads "expected X, got Y; do Z"."""

from __future__ import annotations


class TorporError(Exception):
    """Base of every error that torpor raises on purpose."""


class UsageError(TorporError):
    """The caller asked for something impossible; the command line answers with exit code 2."""


class DataError(UsageError):
    """Input data are missing, corrupt, or of the wrong shape."""


class MeterError(TorporError):
    """Something cannot be measured honestly, such as an operator without a FLOP formula."""
