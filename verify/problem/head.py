"""One query head of a problem: two-dimensional arrays, and logits in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arithmetic import LIBRARY
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem.attendance import Attendance


@dataclass(frozen=True, eq=False)
class Head:
    """One query head of a problem with the keys and values it reads.

    index: position in the leading dimensions of q.  q: [n_q, d_k].  k: [n_k, d_k].  v: [n_k, d_v].  attendance: what
    may attend to what.  scale: of the logits, None for 1/sqrt(d_k), exactly.  softcap, bias [n_q, n_k], slope, sink,
    kept [n_q, n_k], dropout: as in `verify.Problem`, for this head; None where there is none.

    A sink counts as one more key, the last, whose logit is given and whose value is 0: the `columns` of logits.
    """

    index: tuple[int, ...]
    q: Float64Array
    k: Float64Array
    v: Float64Array
    attendance: Attendance
    scale: float | None = None
    softcap: float | None = None
    bias: Float64Array | None = None
    slope: float | None = None
    sink: float | None = None
    kept: BoolArray | None = None
    dropout: float = 0.0

    @property
    def float_scale(self) -> float:
        """The scale of the logits in float64."""
        return float_scale(self.scale, int(self.q.shape[1]))

    @property
    def columns(self) -> int:
        """Keys, and one more where there is a sink."""
        return len(self.k) + (self.sink is not None)

    @property
    def values(self) -> Float64Array:
        """The values of all columns, [columns, d_v]."""
        return self.v if self.sink is None else np.pad(self.v, ((0, 1), (0, 0)))

    def distances(self, rows: Any = slice(None)) -> NDArray[np.int64]:
        """Return how many positions apart some queries and all keys are, [rows, n_k]."""
        found: NDArray[np.int64] = np.abs(self.attendance.positions[rows, None] - self.attendance.places)
        return found

    def logits(self, rows: Any = slice(None)) -> Float64Array:
        """Return logits in float64 for some queries and all keys, attended or not, [rows, columns].

        s = scale q.k_t; then cap tanh(s / cap), if there is a soft cap; then bias and -slope times the distance.
        """
        logits = np.asarray(self.float_scale * (self.q[rows] @ self.k.T))
        if self.softcap is not None:
            logits = self.softcap * np.tanh(logits / self.softcap)
        if self.bias is not None:
            logits = logits + self.bias[rows]
        if self.slope is not None:
            logits = logits - self.slope * self.distances(rows)
        return self._with_sink(logits, self.sink)

    def logit_sizes(self, rows: Any = slice(None)) -> Float64Array:
        """Return |scale| sum_i |q_i k_ti|, of which rounding of a product is a part, [rows, columns]; 0 for a sink."""
        sizes = np.asarray(abs(self.float_scale) * (np.abs(self.q[rows]) @ np.abs(self.k).T))
        return self._with_sink(sizes, 0.0)

    def added_sizes(self, rows: Any = slice(None)) -> Float64Array:
        """Return |bias| + |slope| times the distance, and the size of the sink's logit, [rows, columns]."""
        sizes = np.zeros((len(self.q[rows]), len(self.k)))
        if self.bias is not None:
            sizes = sizes + np.abs(self.bias[rows])
        if self.slope is not None:
            sizes = sizes + abs(self.slope) * self.distances(rows)
        return self._with_sink(sizes, None if self.sink is None else abs(self.sink))

    def logit_doubt(self, rows: Any = slice(None)) -> Float64Array:
        """Return how far off `logits` may be, [rows, columns].

        Twice what d products, d - 1 sums and the scale, in two roundings, lose; tanh passes it on and never adds to it
        (its slope is 1 at most), and errs by its own roundings; a bias and a distance are added, with one each.
        """
        head_size = self.q.shape[1]
        sizes = self.logit_sizes(rows)[:, : len(self.k)]
        doubt = 2 * (head_size + 3) * 2.0**-53 * sizes
        doubt = doubt + head_size * 2.0**-1021 * max(1.0, abs(self.float_scale))
        if self.softcap is not None:
            sizes = np.minimum(sizes, self.softcap)
            doubt = doubt + (LIBRARY + 4) * 2.0**-53 * sizes + 2.0**-1070
        if self.bias is not None:
            sizes = sizes + np.abs(self.bias[rows])
            doubt = doubt + 2.0**-52 * sizes
        if self.slope is not None:
            sizes = sizes + abs(self.slope) * self.distances(rows)
            doubt = doubt + 2.0**-51 * sizes
        return self._with_sink(np.asarray(doubt), 0.0)

    def attended(self, rows: Any = slice(None)) -> BoolArray:
        """Return which columns some queries may see, [rows, columns]; what other queries see takes no memory."""
        found = self.attendance.rows(rows)
        return found if self.sink is None else np.pad(found, ((0, 0), (0, 1)), constant_values=True)

    def shown(self, rows: Any = slice(None)) -> Float64Array:
        """Return by how much the values of columns count, [rows, columns]: 1, or with dropout 0 or 1 / (1 - p)."""
        if self.kept is None:
            return np.ones((len(self.q[rows]), self.columns))
        return self._with_sink(self.kept[rows] / (1.0 - self.dropout), 0.0)

    def _with_sink(self, array: Float64Array, value: float | None) -> Float64Array:
        if self.sink is None:
            return array
        return np.pad(array, ((0, 0), (0, 1)), constant_values=0.0 if value is None else value)

    @property
    def adjusts(self) -> bool:
        """Whether logits are more than scale q.k_t: capped, or with something added."""
        return self.softcap is not None or self.bias is not None or self.slope is not None


def float_scale(scale: float | None, head_size: int) -> float:
    """Return a scale in float64, where none is given 1/sqrt(d_k)."""
    return float(head_size**-0.5) if scale is None else scale
