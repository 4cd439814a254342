"""Progress with the time left, on stderr: a bar in a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from cli.text import WIDTH, one_line

Update = Callable[[int, int, str], None]


# Seconds between two lines where there is no terminal.
EVERY = 10.0


class _Lines:
    """A line on stderr whenever some seconds have gone by."""

    def __init__(self, label: str) -> None:
        self.label, self.start = label, monotonic()
        self.last = self.start

    def update(self, done: int, total: int, last: str) -> None:
        now = monotonic()
        if now - self.last >= EVERY and done < total:
            self.last = now
            word = f", {one_line(last)}" if last else ""
            text = f"{self.label} {done:,} of {total:,} after {now - self.start:.0f} s{word}"
            print(text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}...", file=sys.stderr)


@contextmanager
def progress_bar(label: str) -> Iterator[Update]:
    """Yield a function that takes steps done, steps in all and a word on the last one."""
    if not sys.stderr.isatty():
        yield _Lines(label).update
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
