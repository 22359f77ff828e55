"""Why a user's factory gave no target, in one sentence that says what to write instead."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path

from torch import nn

from torpor.core.errors import UsageError
from torpor.targets.user_code import is_users

WRAPPED = "such as torpor.targets.EarlyExitTarget(network, ...)"
"""How a network becomes a target."""


def refused(name: str, factory: object, error: BaseException) -> UsageError:
    """Return the error for a factory that raised: what it lacks, or which line of the user's code raised.

    Args:
        name: ``pkg.module:factory``, as the user typed it.
        factory: what was called.
        error: what it raised.
    """
    needed = _needed(factory)
    if isinstance(error, TypeError) and needed:
        what = f"the class {name}" if isinstance(factory, type) else f"{name}"
        return UsageError(
            f"expected a function without arguments that returns a Target, got {what}, which takes "
            f"{', '.join(needed)} ({type(error).__name__}: {error}); write one that passes them"
        )
    return UsageError(
        f"expected {name}() to return a torpor Target, got {type(error).__name__}: {error}{_place(error)}; "
        "see where it raises"
    )


def no_target(name: str, found: object) -> UsageError:
    """Return the error for a factory that returned something else.

    Args:
        name: ``pkg.module:factory``, as the user typed it.
        found: what it returned.
    """
    said = f"expected {name}() to return a torpor Target, got {type(found).__name__}"
    if isinstance(found, nn.Module):
        said += f", a network; return a target around it, {WRAPPED}"
    elif found is None:
        said += "; does the function end with return?"
    else:
        said += "; see the guide 'Adding a target'"
    return UsageError(said)


def _needed(factory: object) -> list[str]:
    """Return the names of arguments without which something cannot be called."""
    if not callable(factory):
        return []
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in variable]


def _place(error: BaseException) -> str:
    """Say in which line of the user's code an error was raised; nothing where none was on the way."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _of_user(each.filename)]
    return f" (line {frames[-1].lineno} of {Path(frames[-1].filename).name})" if frames else ""


def _of_user(file: str) -> bool:
    return Path(file).is_file() and is_users(Path(file).resolve())
