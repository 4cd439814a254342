"""From errors of weights to errors of outputs: what rounding can do, before anything is computed.

f, s, o are the unit roundoffs of factors, sums and output; tiny ones their smallest numbers.  A form computes weights
w_t + dw_t, which numerator and Z share, and adds up each of them by itself with relative errors of at most g:

    |computed - exact| <= [sum_t |dw_t| |v_t - y| + g sum_t a_t (|v_t| + |y|)] / (|Z| - sum_t |dw_t| - g sum_t a_t),

a_t >= |w_t| + |dw_t| being the size of what is added up for token t; the division and the rounding of the output come
on top.  Any factor that all weights of a row share cancels.  What dw_t and g are is derived with each form's weights.
Number-of-roundings arguments are those of N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
sections 3.1 (sums and products), 3.5 (matrix products) and 5.1 (Horner's rule).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verify.bounds.pairs import Pairs, Rows, WeightBound
from verify.bounds.unit import Accumulated, accumulated, accumulated_probably
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.problem.rows import rows_at_once

# What evaluating a bound in float64 may have lost of it: every term is a sum of positive numbers.
_EVALUATION = 1.0 + 2.0**-30


@dataclass(frozen=True)
class RoundingBound:
    """Bounds on |computed - exact| for every element, [..., H, n_q, d_v]; infinite where none is known.

    sure: whatever the signs of the roundings.  probable: if they are independent with mean zero, `LAMBDA` says how
    probable.
    """

    sure: Float64Array
    found: Float64Array | Callable[[], Float64Array]  # the probable ones, or what works them out

    @cached_property
    def probable(self) -> Float64Array:
        """The probable bounds, worked out when they are first asked for."""
        return self.found() if callable(self.found) else self.found


def rounding_bound(
    problem: Problem,
    exact: Float64Array,
    arithmetic: Arithmetic,
    weigh: Callable[[Pairs], WeightBound],
    rows: Rows | None = None,
) -> RoundingBound:
    """Return bounds on the rounding error of a form on inputs that the arithmetic holds exactly.

    exact: the exact output on these inputs.  weigh: the form's bound on its weights, for some rows of a head at a time.
    rows: the queries that exact holds, all by default.
    """
    chosen = np.arange(problem.queries) if rows is None else rows

    def found(gamma: Accumulated) -> Float64Array:
        bound = np.zeros(exact.shape)
        step = rows_at_once(problem, problem.keys)
        with np.errstate(all="ignore"):
            for head in problem.each_head():
                for first in range(0, len(chosen), step):
                    some = slice(first, first + step)
                    pairs = Pairs(problem, head, chosen[some], arithmetic, gamma)
                    bound[head.index][some] = _of_outputs(pairs, weigh(pairs), exact[head.index][some])
        bound = np.where(np.isnan(bound), np.inf, bound * _EVALUATION)
        return np.where(problem.attended_rows[..., chosen, None], bound, 0.0)

    sure = found(accumulated)
    return RoundingBound(sure, lambda: np.minimum(sure, found(accumulated_probably)))


def _of_outputs(pairs: Pairs, found: WeightBound, y: Float64Array) -> Float64Array:
    """Return the bound of the module, for outputs y [rows, d_v].

    The quotient is rounded to sums, and to the output if that is another format; products with v may each lose half the
    smallest number, and tiles of them once more.
    """
    arithmetic, v, n = pairs.arithmetic, pairs.head.values, pairs.n
    s, o = pairs.s, 0.0 if arithmetic.output == arithmetic.sums else 2.0**-arithmetic.output.precision
    if found.overflows:
        return np.full(y.shape, np.inf)
    attended = pairs.attended
    weights, moved, size = (np.where(attended, x, 0.0) for x in (found.weights, found.moved, found.size))
    z = np.abs(weights.sum(axis=1, keepdims=True))
    lost = moved.sum(axis=1, keepdims=True)
    added = size.sum(axis=1, keepdims=True)
    evaluation = found.evaluation + (n + 2) * 2.0**-53  # of the weights, and of their sum
    absolute = found.absolute + n * arithmetic.sums.smallest
    left = z - lost - (found.spread + evaluation) * added - absolute
    share = 1.0 - pairs.head.dropout
    if pairs.head.kept is None:
        # |v_t - y| <= |v_t - c| + |y - c| for the mean c of v, which keeps a large mean from counting
        middle = v.mean(axis=0) if n else np.zeros(y.shape[1])
        numerator = moved @ np.abs(v - middle) + lost * np.abs(y - middle)
        numerator += found.spread * (size @ np.abs(v) + added * np.abs(y))
    else:  # values are others in every row
        shown = pairs.head.shown(pairs.rows)
        numerator = (moved * shown) @ np.abs(v) + lost * np.abs(y)
        numerator += found.spread * ((size * shown) @ np.abs(v) + added * np.abs(y))
    numerator += absolute * (1 / share + np.abs(y))
    relative = (1.0 + evaluation) * numerator / left
    smallest = (arithmetic.output.smallest + arithmetic.sums.smallest / share) / 2 / share
    last = (1.0 + s) * (1.0 + o)
    if share != 1.0:  # a product with 1 / share, which is rounded itself
        last *= (1.0 + s) ** 2 * (1.0 + 2.0**-50)
    bound = relative + (np.abs(y) + relative) * (last - 1.0) + smallest
    largest = min(arithmetic.output.largest, arithmetic.sums.largest)
    reached = np.abs(y) + bound > largest
    return np.where((left > 0) & ~reached, bound, np.where(attended.any(axis=1, keepdims=True), np.inf, 0.0))
