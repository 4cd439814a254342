"""Which rows of a problem are measured, and in what blocks: all of them, or a sample spread over positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verify.arguments import checked_integer
from verify.errors import InvalidRequestError
from verify.problem import Problem
from verify.problem.rows import block_rows
from verify.problem.selection import of_rows

# Pairs of a query and a key in a block, about: some seconds of exact values.
BLOCK_PAIRS = 1 << 22

# The seed of a sample of rows; a sample is part of what was measured, and the same each time.
SEED = 0


@dataclass(frozen=True, eq=False)
class Portion:
    """Some rows of a problem, of all heads.

    problem: the whole.  rows: numbers of queries, ascending.
    """

    problem: Problem
    rows: NDArray[np.int64]

    @property
    def everything(self) -> bool:
        """Whether these are all rows."""
        return len(self.rows) == self.problem.queries

    @cached_property
    def part(self) -> Problem:
        """The problem of these rows alone, over the same keys."""
        return self.problem if self.everything else of_rows(self.problem, self.rows.tolist())

    def of(self, problem: Problem) -> Portion:
        """Return the same rows of another problem, such as one whose inputs were rounded."""
        return self if problem is self.problem else Portion(problem, self.rows)


def measured_rows(problem: Problem, sample: int | None) -> NDArray[np.int64]:
    """Return the rows that are measured: all, or a sample of so many.

    Positions are divided into as many spans of one length as there are rows to choose, and a row is drawn from each, by
    `SEED`: every stretch of the context is there.  Raises InvalidRequestError for a sample of none, or of more rows
    than there are.
    """
    if sample is None:
        return np.arange(problem.queries)
    count = checked_integer("rows", sample, 1)
    if count > problem.queries:
        raise InvalidRequestError(
            f"{count} rows of {problem.name}, which has {problem.queries}",
            "no more rows than there are",
            "ask for fewer (--rows), or leave that out to measure all",
        )
    edges = [problem.queries * place // count for place in range(count + 1)]
    return np.random.default_rng(SEED).integers(edges[:-1], edges[1:])


def block_bounds(problem: Problem, count: int, block_pairs: int = BLOCK_PAIRS) -> list[tuple[int, int]]:
    """Return where the blocks of so many rows begin and end, about so many pairs each.

    One ends where a block of enclosures does: what is enclosed or computed together is then the same, whatever their
    size.
    """
    grain = block_rows(problem)
    step = max(1, block_pairs // max(1, grain * problem.heads * problem.keys)) * grain
    return [(first, min(first + step, count)) for first in range(0, count, step)]


def portions(problem: Problem, rows: NDArray[np.int64], block_pairs: int = BLOCK_PAIRS) -> Iterator[Portion]:
    """Yield the blocks in which some rows are measured; see `block_bounds`."""
    for first, last in block_bounds(problem, len(rows), block_pairs):
        yield Portion(problem, rows[first:last])
