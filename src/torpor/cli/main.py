"""The ``torpor`` command: signals first, then everything else."""

from __future__ import annotations

import os
import sys

from torpor.cli.interruption import Interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    """Run the command line; what torpor refuses on purpose becomes one sentence and exit code 2."""
    # Threads that wait for work sleep: on a busy machine those that spin can make a run take thirty times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    ours = sys._getframe(1).f_globals.get("__name__") == "__main__"  # else the caller goes on after it
    interruption = Interruption(sys.argv[1:])
    try:
        interruption.install()
        code = _run(interruption, ours)
        if ours:
            interruption.end(code)
    except BaseException as error:
        if not (interruption.number or isinstance(error, KeyboardInterrupt)):
            raise
        code = interruption.code
        interruption.finish()
        if ours:
            _flush()
            os._exit(code)  # threads may still be at work
    finally:
        if not ours:
            interruption.restore()
    _flush()
    sys.exit(code)


def _run(interruption: Interruption, ours: bool) -> int:
    """Run the command line and return its exit code."""
    from torpor.cli.streams import ReaderGone, prepare, show_crash

    prepare()
    try:
        from torpor.cli.app import run

        code = run()
    except (BrokenPipeError, ReaderGone):
        return 128 + 13  # as if SIGPIPE had ended it
    except Exception as error:
        if interruption.number or not ours:
            raise
        show_crash(error)
        return 1
    if interruption.number:  # typer makes an exit code of it
        raise KeyboardInterrupt
    return code


def _flush() -> None:
    """Flush what is left; where the reader has gone, keep the interpreter from complaining at exit."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name != "app":
        raise AttributeError(f"module 'torpor.cli.main' has no attribute {name!r}")
    from torpor.cli.app import app

    return app
