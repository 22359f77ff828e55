"""Let other libraries read what a user gave: whatever they raise is one sentence, and nothing is fetched."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torpor
from torpor.core.errors import TorporError, UsageError

HOUSE = Path(torpor.__file__).parent


@contextmanager
def read_by_others(expected: str, got: str, advice: str) -> Iterator[None]:
    """Turn whatever another library raises in this block into one sentence.

    An error of torpor's own code stays what it is: a fault of torpor's.

    Args:
        expected: what should have been there.
        got: what was given.
        advice: what to do.

    Raises:
        UsageError: if another library raises anything; panics, deep recursion and lack of memory too.
    """
    try:
        yield
    except (TorporError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        if _is_ours(error.__traceback__):
            raise
        raise UsageError(f"expected {expected}, got {got}: {first_line(error)}; {advice}") from error


def _is_ours(trace: TracebackType | None) -> bool:
    """Tell whether torpor's own code raised, elsewhere than in the block itself."""
    last, depth = None, 0
    while trace is not None:
        last, trace, depth = trace, trace.tb_next, depth + 1
    return last is not None and depth > 2 and HOUSE in Path(last.tb_frame.f_code.co_filename).parents


def first_line(error: BaseException) -> str:
    r"""Return the kind of an error and the first line of what it says.

    >>> first_line(ValueError("no such file.\nSee the docs"))
    'ValueError: no such file'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.:;')[:200]}" if lines else type(error).__name__


@contextmanager
def quietly(transformers: Any, *, offline: bool) -> Iterator[None]:  # noqa: ANN401 - the library
    """Silence the progress bars and messages of transformers, since torpor says what is wrong.

    Args:
        transformers: the library.
        offline: whether all libraries of the hub must fetch nothing.
    """
    talk = transformers.utils.logging
    constants: Any = importlib.import_module("huggingface_hub.constants")
    bars, before, was = talk.is_progress_bar_enabled(), talk.get_verbosity(), constants.HF_HUB_OFFLINE
    talk.disable_progress_bar()
    talk.set_verbosity(talk.CRITICAL)
    constants.HF_HUB_OFFLINE = was or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was
        talk.set_verbosity(before)
        if bars:
            talk.enable_progress_bar()
