"""What is enclosed at once: some queries of one head, with the keys and values they see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Problem

# Products of fewer rows than about 60 leave flint's fast algorithms; of more, a block takes long to come back.
BLOCK_ROWS = 512


@dataclass(frozen=True)
class Block:
    """Some queries of one head and all keys and values they see: what is enclosed at once.

    Blocks are independent of each other and small enough to be sent to a process.

    name: of the problem, for messages.  index: the head's place in the leading dimensions.  rows: [r], the queries'
    place in the head.  q: [r, d_k].  k: [n_k, d_k].  v: [n_k, d_v].  attended: [r, n_k].
    """

    name: str
    index: tuple[int, ...]
    rows: NDArray[np.int64]
    q: Float64Array
    k: Float64Array
    v: Float64Array
    attended: BoolArray
    scale: float | None

    def take(self, chosen: BoolArray) -> Block:
        """Return a block of some of the rows."""
        return replace(self, rows=self.rows[chosen], q=self.q[chosen], attended=self.attended[chosen])


def blocks_of(problem: Problem) -> Iterator[Block]:
    """Yield the blocks of every head, without the keys that none of their queries sees."""
    for head in problem.each_head():
        for first in range(0, problem.queries, BLOCK_ROWS):
            rows = np.arange(first, min(first + BLOCK_ROWS, problem.queries))
            attended = head.attended(slice(first, first + BLOCK_ROWS))
            seen = attended.any(axis=0)
            yield Block(
                problem.name,
                head.index,
                rows,
                head.q[rows],
                head.k[seen],
                head.v[seen],
                attended[:, seen],
                problem.scale,
            )
