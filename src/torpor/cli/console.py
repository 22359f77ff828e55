"""Tables and a progress bar: the only console, on which nothing from elsewhere is markup or a control sequence."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from torpor.cli.streams import GuardedStream, note
from torpor.reports.kit.printable import printable, printable_parts

if TYPE_CHECKING:
    from torpor.audits.read import SavedAudit

QUIET_S = 20.0
"""Seconds after which a log says again what is under way: nobody wonders for half a minute."""
SOON_S = 5.0
"""Seconds within which a log says nothing more."""


class SafeConsole(Console):
    """A console that takes no markup, and on which only rich's own styles are control sequences.

    Args:
        stderr: print to standard error.
        columns: at least, where the output is not a terminal and has no width to fit into.
    """

    def __init__(self, *, stderr: bool = False, columns: int = 100) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        if not self.is_terminal:
            self.width = max(columns, shutil.get_terminal_size().columns)

    @property
    def file(self) -> IO[str]:
        """The stream itself, whether it is guarded against others or not."""
        found = super().file
        return found.unguarded if isinstance(found, GuardedStream) else found

    @file.setter
    def file(self, new: IO[str]) -> None:
        self._file = new

    def on_broken_pipe(self) -> None:
        """Say that the reader has gone, where rich would end the process with exit code 1.

        Raises:
            BrokenPipeError: always.
        """
        self._buffer.clear()  # else it would be written with what is printed next
        raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is shown, made printable."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, lines=True), segment.style)


console = SafeConsole()


def show(renderable: RenderableType, columns: int | None = None) -> None:
    """Print a table, in a log over so many columns if that is wider than others."""
    (console if columns is None else SafeConsole(columns=columns)).print(renderable)


def show_audit(audit: SavedAudit) -> None:
    """Print the summary table and the verdict of a finished audit."""
    from torpor.audits.integrity import remarks
    from torpor.reports.console import summary_table, verdict_line

    show(summary_table(printable_parts(audit.parts())))
    console.print(printable(verdict_line(audit.parts())))
    for remark in remarks(audit):
        console.print(printable(remark))


class TimeLeft:
    """How long what is left takes, at the speed of what this run has done so far; nothing before it has done any."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None
        self._since, self._done, self._total = 0.0, 0, 0

    def note(self, done: int, total: int) -> None:
        """Take note of how much is done, and of how much there is in all; 0 if unknown."""
        now = time.monotonic()
        if total and self._begun is None:
            self._begun = now, done  # what an earlier run has done took no time of this one
        if done != self._done:
            self._since, self._done = now, done
        self._total = total

    def left(self) -> str:
        """Say how long it takes from now on, though nothing has happened since the last note."""
        if self._begun is None or not self._total:
            return ""
        began, before = self._begun
        waited = time.monotonic() - self._since
        return time_left(self._since - began, self._done - before, self._total - self._done, waited)


def time_left(seconds: float, done: int, left: int, waited: float = 0.0) -> str:
    """Say how long what is left takes if so much was done in so many seconds, and so long ago.

    Nothing is said before anything is done, or once what is left takes longer than expected.

    >>> time_left(30.0, 2, 10), time_left(30.0, 2, 10, waited=20.0), time_left(30.0, 2, 10, waited=200.0)
    ('2:30 left', '2:10 left', '')
    """
    if done < 1 or left < 0:
        return ""
    rest = seconds * left / done - waited
    return f"{clock(rest)} left" if rest >= 0 else ""


def clock(seconds: float) -> str:
    """Return a time as a clock shows it.

    >>> clock(150), clock(7262)
    ('2:30', '2:01:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Log:
    """Progress in lines of a log: at most one in :data:`SOON_S` seconds, at least one in :data:`QUIET_S`.

    Args:
        tell: prints a line.
        quiet_s: seconds after which what is under way is said again.
        soon_s: seconds within which nothing more is said.
    """

    def __init__(self, tell: Callable[[str], None], quiet_s: float | None = None, soon_s: float | None = None) -> None:
        self.tell = tell
        self.quiet_s, self.soon_s = QUIET_S if quiet_s is None else quiet_s, SOON_S if soon_s is None else soon_s
        self.line, self.since, self.said, self.ended = "", time.monotonic(), time.monotonic(), threading.Event()
        self.left: Callable[[], str] = str
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()

    def update(self, line: str, left: Callable[[], str] = str) -> None:
        """Take note of what is under way now; say it unless something was said just before.

        Args:
            line: what is said.
            left: returns how long it takes from when it is said.
        """
        with self._lock:
            now = time.monotonic()
            self.left = left
            if line == self.line:
                return
            self.line, self.since = line, now
            if now - self.said >= self.soon_s:
                self._tell(now)

    def _repeat(self) -> None:
        while not self.ended.wait(min(1.0, self.quiet_s / 4)):
            with self._lock:
                now = time.monotonic()
                if self.line and now - self.said >= self.quiet_s:
                    self._tell(now, f"; for {clock(now - self.since)} now")

    def _tell(self, now: float, more: str = "") -> None:
        self.said = now
        left = self.left()
        self.tell(f"{self.line}{', ' * bool(left)}{left}{more}")


def progress_line(text: str, done: int, total: int) -> str:
    """Return what is under way in a line of a log.

    >>> progress_line("batch 2/5 pgd-Linf-0.2", 6, 24), progress_line("fitting trace", 0, 0)
    ('batch 2/5 pgd-Linf-0.2, 25 % done', 'fitting trace')
    """
    return f"{text}, {100 * done // total} % done" if total else text


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar if anybody watches, lines if not; call it with a text, what is done, and all (0 if unknown).

    Lines go to standard error, the first of them after some seconds: what is over soon needs none.
    """
    pace, errors = TimeLeft(), SafeConsole(stderr=True)
    if not errors.is_terminal:
        with Log(note) as log:

            def say(text: str, done: int, total: int) -> None:
                pace.note(done, total)
                log.update(progress_line(text, done, total), pace.left)

            yield say
        return
    from rich.progress import BarColumn, Progress, Task, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Left(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(pace.left())

    columns = (
        TextColumn("{task.description:30.30}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(markup=False),
        TimeElapsedColumn(),
        Left(""),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def update(text: str, done: int, total: int) -> None:
            pace.note(done, total)
            progress.update(task, description=printable(text), completed=done, total=total or None)

        yield update


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is under way, as :func:`bar` does, while the block runs."""
    with bar() as progress:
        progress(text, 0, 0)
        yield
