"""Tables and a progress bar: the only console, on which nothing from elsewhere is markup or a control sequence."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from torpor.cli.streams import GuardedStream
from torpor.reports.kit.printable import printable, printable_parts

if TYPE_CHECKING:
    from rich.status import Status

    from torpor.audits.read import SavedAudit


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


def status(text: str) -> Status:
    """Return a context that shows, while it is entered, that work is under way."""
    from rich.text import Text

    return console.status(Text(printable(text)))


def show_audit(audit: SavedAudit) -> None:
    """Print the summary table and the verdict of a finished audit."""
    from torpor.audits.integrity import remarks
    from torpor.reports.console import summary_table, verdict_line

    show(summary_table(printable_parts(audit.parts())))
    console.print(printable(verdict_line(audit.parts())))
    for remark in remarks(audit):
        console.print(printable(remark))


def time_left(seconds: float, done: int, left: int) -> str:
    """Say how long what is left takes at the speed of what this run has done so far; nothing before it has done any.

    >>> time_left(30.0, 2, 10), time_left(1.0, 0, 10)
    ('2:30 left', '')
    """
    if done < 1 or left < 0:
        return ""
    minutes, rest = divmod(round(seconds * left / done), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar, if anybody watches; call what it yields with a text, steps done, and steps in all (0 if unknown)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description:30.30}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    errors = SafeConsole(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task, begun = progress.add_task("starting", total=None, left=""), list[tuple[float, int]]()

        def update(text: str, done: int, total: int) -> None:
            now = time.monotonic()
            if total and not begun:
                begun.append((now, done))  # what an earlier run has done took no time of this one
            left = time_left(now - begun[0][0], done - begun[0][1], total - done) if begun else ""
            progress.update(task, description=printable(text), completed=done, total=total or None, left=left)

        yield update
