"""Progress with the time left: on stderr, and only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.text import one_line

Update = Callable[[int, int, str], None]


@contextmanager
def progress_bar(label: str) -> Iterator[Update]:
    """Yield a function that takes steps done, steps in all and a word on the last one."""
    if not sys.stderr.isatty():
        yield lambda done, total, last: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    # the speed is estimated over the whole run: inputs finish in lumps of cells
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=3600)
    task = bar.add_task("", total=None)

    def update(done: int, total: int, last: str) -> None:
        bar.start()  # not before there is something to wait for; starting twice changes nothing
        bar.update(task, completed=done, total=total, description=escape(one_line(last)))

    try:
        yield update
    finally:
        bar.stop()
