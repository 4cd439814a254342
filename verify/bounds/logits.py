"""Bounds on outputs whose weights are a function of the logit, from the range of that function beside exp's.

Certified with ball arithmetic: whatever function of the logits is given.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import ceil, inf, nextafter

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.precision import MAX_BITS, flint_precision
from verify.problem import Head, Problem
from verify.problem.rows import rows_at_once

# Bits to which bounds are worked out: relative to the bound, not to 1.
_BITS = 60

# The widest cell in which a function is worked out at once, and the most cells there are.
CELL = 2.0**-6
MOST_CELLS = 1 << 13


def output_bounds(problem: Problem, row_bound: Callable[[float, float], float]) -> Float64Array:
    """Return a bound on |exact - exact softmax| for every output element, [..., H, n_q, d_v].

    row_bound: a bound on |y' - y| / (max v - min v) for logits from low to high.  It is asked for each row's logits,
    worked out in float64 and widened by what that can be off, and multiplied by the range of the attended v.  0 in rows
    that attend to nothing; infinite where some weight may not be positive.
    """
    bound = np.zeros(problem.output_shape)
    step = rows_at_once(problem, problem.keys)
    cut: dict[tuple[float, float], float] = {}
    for head in problem.each_head():
        for first in range(0, problem.queries, step):
            rows = slice(first, min(first + step, problem.queries))
            attended = head.attended(rows)
            lows, highs = logit_range(head, rows, attended)
            spreads = _spreads(head, rows, attended)
            for row, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
                if not attended[row].any():
                    continue
                place = (*head.index, first + row)
                if not (np.isfinite(low) and np.isfinite(high)):
                    bound[place] = inf
                    continue
                if (low, high) not in cut:
                    cut[low, high] = row_bound(low, high)
                with np.errstate(invalid="ignore", over="ignore", under="ignore"):
                    found = np.nextafter(cut[low, high] * spreads[row], inf)  # the product was rounded
                # a range of zero leaves nothing to err in, whatever positive weights do
                bound[place] = np.where((spreads[row] == 0.0) & np.isfinite(cut[low, high]), 0.0, found)
    return np.where(np.isnan(bound), inf, bound)


def logit_range(head: Head, rows: slice, attended: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Return numbers below and above the attended logits of each row; infinite where float64 has none."""
    with np.errstate(over="ignore", invalid="ignore"):
        logits, doubt = head.logits(rows), head.logit_doubt(rows)
        lows = np.where(attended, logits - doubt, inf).min(axis=1, initial=inf)
        highs = np.where(attended, logits + doubt, -inf).max(axis=1, initial=-inf)
    return lows, highs


def extreme_logits(problem: Problem) -> tuple[float, float]:
    """Return numbers below and above all attended logits that float64 has; the first is larger if there are none."""
    least, most = inf, -inf
    step = rows_at_once(problem, problem.keys)
    for head in problem.each_head():
        for first in range(0, problem.queries, step):
            rows = slice(first, min(first + step, problem.queries))
            lows, highs = logit_range(head, rows, head.attended(rows))
            least = min(least, float(lows[np.isfinite(lows)].min(initial=inf)))
            most = max(most, float(highs[np.isfinite(highs)].max(initial=-inf)))
    return least, most


def moved_by(least: arb, most: arb) -> arb:
    """Return a bound on |y' - y| / (max v - min v) where p'_t / p_t lies between two numbers, up to a factor.

    With kappa = most / least, sets A of keys have p'(A) / p'(not A) <= kappa p(A) / p(not A).  The largest p'(A) - p(A)
    that this allows is (sqrt(kappa) - 1) / (sqrt(kappa) + 1), at p(A) = 1 / (1 + sqrt(kappa)); and y' - y <= (max v -
    min v) max over A of (p'(A) - p(A)).  Two keys attain it.  Infinite unless least is sure to be positive.
    """
    if not least > 0:
        return arb.pos_inf()
    excess = (most - least) / least  # kappa - 1
    return excess / (1 + (1 + excess).sqrt()) ** 2


class RatioTable:
    """The range of g(s) / exp(s), cell by cell, for any function g of the logit.

    Cells are CELL wide, or wider if there would be more than MOST_CELLS; each is a ball in which g and exp are worked
    out, so that what comes out holds every value there, and is wider than it by about a cell.
    """

    def __init__(self, function: Callable[[arb], arb], low: float, high: float) -> None:
        check_range(low, high)
        count = max(1, ceil(min(MOST_CELLS, (high - low) / CELL)))
        half = 0.5 if high - low == inf else 1.0  # a range beyond float64 is halved while it is divided: that is exact
        self.edges = np.linspace(half * low, half * high, count + 1) / half
        least, most = [], []
        with flint_precision(_BITS):
            for start, end in pairwise(self.edges.tolist()):
                s = arb(start).union(arb(end))
                ratio = arb(function(s)) * (-s).exp()
                known = ratio.is_finite()
                least.append(-above(-ratio) if known else -inf)
                most.append(above(ratio) if known else inf)
        self.least, self.most = np.array(least), np.array(most)

    def bound(self, low: float, high: float) -> float:
        """Return a bound on |y' - y| / (max v - min v) for logits from low to high, both inside the table.

        Infinite unless g is sure to be positive there: with weights of both signs an output may be anywhere.
        """
        first = min(len(self.least) - 1, max(0, int(np.searchsorted(self.edges, low, side="right")) - 1))
        last = max(first + 1, int(np.searchsorted(self.edges, high, side="left")))
        with flint_precision(_BITS):
            least, most = self.least[first:last].min(), self.most[first:last].max()
            if not 0.0 < least <= most < inf:
                return inf
            return 0.0 if low == high else min(1.0, above(moved_by(arb(float(least)), arb(float(most)))))


def check_range(low: float, high: float) -> None:
    """Raise InvalidRequestError unless both are finite and in order."""
    if not -inf < low <= high < inf:
        raise InvalidRequestError(f"logits from {low} to {high}", "two finite numbers, the smaller first", "order them")


def resolved(value: Callable[[], arb]) -> tuple[float, float]:
    """Return float64 numbers below and above a value, worked out at a precision that gives it 40 bits.

    If no precision up to the cap does, the value is as good as 0, and the numbers say how far.
    """
    bits = _BITS
    while True:
        with flint_precision(min(bits, MAX_BITS)):
            found = value()
            if bits >= MAX_BITS or found.rel_accuracy_bits() >= 40 or (found.is_exact() and found.is_finite()):
                return -above(-found), above(found)
        bits *= 2


def above(ball: arb) -> float:
    """Return a float64 that no number of the ball exceeds."""
    top = float(ball.upper())  # to nearest; infinite beyond float64
    return top if arb(top) >= ball else nextafter(top, inf)


def _spreads(head: Head, rows: slice, attended: NDArray[np.bool_]) -> Float64Array:
    """Return max v - min v over the keys that each row attends to, [n_q, d_v], rounded up; a sink has the value 0.

    With dropout values are 0 where they are dropped, and divided by 1 - p elsewhere.
    """
    v = head.values
    if head.kept is not None:
        shown = head.shown(rows)
        found = np.zeros((len(attended), v.shape[1]))
        for row in np.flatnonzero(attended.any(axis=1)):
            seen = shown[row, attended[row], None] * v[attended[row]]
            high, low = seen.max(axis=0), seen.min(axis=0)  # each rounded twice
            found[row] = _difference(high, low) + 2.0**-50 * np.maximum(np.abs(high), np.abs(low)) + 2.0**-1070
        return found
    if attended.all():
        spread = _difference(v.max(axis=0, initial=-inf), v.min(axis=0, initial=inf))
        return np.broadcast_to(spread, (len(attended), v.shape[1]))
    lengths = attended.sum(axis=1)
    if _prefixes(attended, lengths) and len(v):
        reached = [f.accumulate(v, axis=0)[np.maximum(lengths, 1) - 1] for f in (np.maximum, np.minimum)]
        return _difference(reached[0], reached[1])
    found = np.zeros((len(attended), v.shape[1]))
    for row in np.flatnonzero(lengths):
        seen = v[attended[row]]
        found[row] = _difference(seen.max(axis=0), seen.min(axis=0))
    return found


def _prefixes(attended: NDArray[np.bool_], lengths: NDArray[np.int64]) -> bool:
    return bool((attended == (np.arange(attended.shape[1]) < lengths[:, None])).all())


def _difference(high: Float64Array, low: Float64Array) -> Float64Array:
    """Return high - low rounded up; of equal numbers it is 0 exactly."""
    with np.errstate(over="ignore"):
        return np.where(high == low, 0.0, np.nextafter(high - low, inf))
