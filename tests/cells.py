"""Cells measured in this process, without a run file."""

from __future__ import annotations

from collections import deque
from typing import Any

from verify.inputs import InputSource
from verify.measure.cell import Cell
from verify.measure.portion import BLOCK_PAIRS
from verify.sweep.inputwork import InputWork
from verify.sweep.record import Record
from verify.sweep.runner import plan_of
from verify.sweep.tasks import done


class Kept:
    """What is kept of blocks, in memory."""

    def __init__(self) -> None:
        self.contents: dict[tuple[Any, ...], bytes] = {}

    def fetch(self, *key: Any) -> bytes | None:
        return self.contents.get(key)

    def keep(self, *key: Any) -> None:
        self.contents[key[:-1]] = key[-1]

    def discard(self) -> None:
        self.contents.clear()


def records_of(
    source: InputSource, *cells: Cell, sample: int | None = None, block_pairs: int = BLOCK_PAIRS
) -> list[Record]:
    """Return the records of cells, each of another one, on an input."""
    plan, kept = plan_of(source, sample, block_pairs), Kept()
    work = InputWork(plan.subject, plan.blank, cells, plan.bounds, kept)
    waiting, found = deque(work.start()), {}
    while waiting:
        task = waiting.popleft().make()
        if task is None:
            continue
        pieces, ended = work.take(task, done(task))
        waiting.extend(pieces)
        found.update({each.cell: each.record for each in ended})
    assert not work.left
    assert not kept.contents
    return [found[cell] for cell in cells]
