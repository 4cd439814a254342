"""What is enclosed at once: some queries of one head, with the keys and values they see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Problem
from verify.problem.rows import block_rows


@dataclass(frozen=True)
class Block:
    """Some queries of one head and all keys and values they see: what is enclosed at once.

    Blocks are independent of each other and small enough to be sent to a process.

    name: of the problem, for messages.  index: the head's place in the leading dimensions.  rows: [r], the queries'
    place in the head.  keys: [n_k], that of the keys.  q: [r, d_k].  k: [n_k, d_k].  v: [n_k, d_v].  attended: [r,
    n_k].  softcap, bias [r, n_k], slope with distances [r, n_k], sink, kept [r, n_k], dropout: as in
    `verify.problem.Head`; None where there is none.
    """

    name: str
    index: tuple[int, ...]
    rows: NDArray[np.int64]
    q: Float64Array
    k: Float64Array
    v: Float64Array
    attended: BoolArray
    scale: float | None
    keys: NDArray[np.int64]
    softcap: float | None = None
    bias: Float64Array | None = None
    slope: float | None = None
    distances: NDArray[np.int64] | None = None
    sink: float | None = None
    kept: BoolArray | None = None
    dropout: float = 0.0

    def take(self, chosen: BoolArray) -> Block:
        """Return a block of some of the rows."""
        by_pair = {name: getattr(self, name) for name in ("attended", "bias", "distances", "kept")}
        some: dict[str, Any] = {name: None if array is None else array[chosen] for name, array in by_pair.items()}
        return replace(self, rows=self.rows[chosen], q=self.q[chosen], **some)

    @property
    def adjusts(self) -> bool:
        """Whether logits are more than scale q.k_t."""
        return self.softcap is not None or self.bias is not None or self.slope is not None


def blocks_of(problem: Problem) -> Iterator[Block]:
    """Yield the blocks of every head, without the keys that none of their queries sees."""
    step = block_rows(problem)
    for head in problem.each_head():
        for first in range(0, problem.queries, step):
            rows = np.arange(first, min(first + step, problem.queries))
            attended = head.attendance.rows(rows)
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
                np.flatnonzero(seen),
                problem.softcap,
                None if head.bias is None else head.bias[np.ix_(rows, seen)],
                head.slope,
                None if head.slope is None else head.distances(rows)[:, seen],
                head.sink,
                None if head.kept is None else head.kept[np.ix_(rows, seen)],
                problem.dropout,
            )
