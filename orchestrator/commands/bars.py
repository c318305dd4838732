"""Progress bars of commands that read logs from end to end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advanced = Callable[[str, int, int], None]
"""Told what is read, how far, and its end."""


@contextmanager
def bars() -> Iterator[Advanced]:
    """A bar for each that it is told of, on a terminal; nothing elsewhere."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as progress:
        tasks = {}

        def advanced(what: str, at: int, end: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.update(tasks[what], completed=at, total=max(at, end))

        yield advanced
