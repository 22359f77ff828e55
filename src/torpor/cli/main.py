"""The ``torpor`` command: signals first, then everything else. Imports next to nothing before they are handled.

Ctrl-C, SIGTERM and SIGHUP print one sentence on how to resume, whatever is under way.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
PATIENCE_S = 10
"""Seconds for tidying up; a signal that a library swallowed ends the process after that."""
RESUMED = (["audit"], ["recommend"], ["study"], ["zoo", "train"])
"""Verbs that resume where they were stopped."""

KEPT = list[str]()
"""The folder of what the command has finished so far, if it is one that resumes from there; empty for none."""


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end."""


class Interruption:
    """What signals do while a command runs: the first one unwinds, so that files are tidied up; a second one ends it.

    While a module is imported nothing needs tidying, and much code on the way swallows exceptions, so the first one
    ends the process there too. Signals that the parent process ignores, as nohup does, stay ignored.

    Args:
        words: of the command line, without the name of the program.
    """

    def __init__(self, words: list[str]) -> None:
        self.number = 0
        self._words = [word for word in words if not word.startswith("-")]
        self._said = False
        self._before: dict[int, Any] = {}
        self._hook: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    def install(self) -> None:
        """Take the signals; nothing is done outside of the main thread, which alone can."""
        try:
            for name in NAMES:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        except ValueError:
            return
        sys.unraisablehook = self._unraisable

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def end(self, code: int) -> None:
        """Let further signals end the process at once: what was wanted is done, only the interpreter is not."""
        for number in self._before:
            signal.signal(number, lambda *given: os._exit(code))

    @property
    def code(self) -> int:
        """The exit code: 130, 143 or 129."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def sentence(self) -> str:
        """The message, on one line."""
        name = signal.Signals(self.number).name if self.number not in (0, signal.SIGINT) else ""
        goes_on = any(self._words[: len(verb)] == verb for verb in RESUMED)
        how = "resumes where this one stopped" if goes_on else "starts anew, and nothing was left half-written"
        kept = f"{kept_batches(KEPT[0])} and " if KEPT and goes_on else ""
        return f"torpor: interrupted{' by ' * bool(name)}{name}; {kept}the same command {how}"

    def finish(self) -> None:
        """Say the sentence, once everything is tidied up."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        if not self._said:
            self._said = True
            try:
                print(self.sentence, file=sys.stderr, flush=True)
            except (OSError, ValueError):
                return  # the reader has gone

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number or _imports(frame):
            self.number = self.number or number
            self._leave()
        self.number = number
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda *given: self._leave())
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        raise Stopped

    def _unraisable(self, given: sys.UnraisableHookArgs) -> None:
        """End where the interpreter would swallow the exception, such as in a finalizer."""
        if isinstance(given.exc_value, Stopped):
            self._leave()
        self._hook(given)

    def _leave(self) -> None:
        """End at once. Streams may be in the middle of something, so only descriptors are written to."""
        try:
            if os.isatty(2):
                os.write(2, b"\r\x1b[K\x1b[?25h")  # a progress bar hides the cursor
            if not self._said:
                self._said = True
                os.write(2, f"{self.sentence}\n".encode())
        except OSError:
            pass
        os._exit(self.code)


def kept_batches(folder: str) -> str:
    """Say how much of an audit is on disk in its folder."""
    if os.path.isfile(os.path.join(folder, "audit.json")):
        return f"the finished audit is in {folder},"
    try:
        names = os.listdir(os.path.join(folder, "shards"))
    except OSError:
        names = []
    count = sum(name.endswith(".parquet") and name.partition(".")[0] + ".parquet" == name for name in names)
    if not count:
        return "no batch was finished,"
    return f"{count} finished batch{'es' * (count != 1)} {'are' if count != 1 else 'is'} kept in {folder},"


def _imports(frame: FrameType | None) -> bool:
    """Tell whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Run the command line; what torpor refuses on purpose becomes one sentence and exit code 2."""
    # Threads that wait for work sleep: on a busy machine those that spin can make a run take thirty times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    ours = sys._getframe(1).f_globals.get("__name__") == "__main__"  # else the caller goes on after it
    KEPT.clear()
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
