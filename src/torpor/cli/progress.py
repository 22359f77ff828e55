"""A progress bar on standard error for anything that takes over two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar, if anybody watches; call what it yields with a text, steps done, and steps in all (0 if unknown)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from torpor.cli.console import SafeConsole
    from torpor.reports.kit.printable import printable

    columns = (
        TextColumn("{task.description:30.30}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = SafeConsole(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=None)

        def update(text: str, done: int, total: int) -> None:
            progress.update(task, description=printable(text), completed=done, total=total or None)

        yield update
