"""What computing a formula may lose, for a form that declares no bound: the formula itself, tracked.

The declared formula is evaluated with a running account of its rounding (`verify.families.tracked`), which knows how
many operations there are and what cancels.  A form may arrange the same formula otherwise, as features or logarithms:
it may lose several times as much, LEEWAY in float64 and float32, and NARROW where LEEWAY roundings are more than the
number itself.
"""

from __future__ import annotations

import numpy as np

from verify.bounds.outputs import rounding_bound
from verify.bounds.pairs import Pairs, WeightBound, largest_of
from verify.conformance.formula import TrackedWeights
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

LEEWAY = 2.0**10

NARROW = 2.0**3

FLOAT64 = ARITHMETICS["float64"]


def leeway(arithmetic: Arithmetic) -> float:
    """Return how many times as much as the declared formula a form may lose."""
    return LEEWAY if arithmetic.factors.precision >= 24 else NARROW


def unit(arithmetic: Arithmetic) -> float:
    """Return the unit roundoff of factors, the coarsest of what weights go through."""
    return float(2.0**-arithmetic.factors.precision)


def allowance(problem: Problem, exact: Float64Array, arithmetic: Arithmetic, tracked: TrackedWeights) -> Float64Array:
    """Return how far off an output may be, [..., H, n_q, d_v]; infinite where nothing can be said.

    exact: the exact output.  tracked: the formula's weights, tracked in this arithmetic.
    """
    return rounding_bound(problem, exact, arithmetic, lambda pairs: _as_declared(pairs, tracked)).sure


def _as_declared(pairs: Pairs, tracked: TrackedWeights) -> WeightBound:
    weights, off = (x[pairs.rows] for x in tracked[pairs.head.index])
    times = leeway(pairs.arithmetic)
    moved = times * (off + unit(pairs.arithmetic) * np.abs(weights)) + pairs.tiny
    # so many roundings for every key: sums over features and tokens, and the quotient
    spread = pairs.gamma(times * (pairs.n + 1), pairs.s)
    size = np.abs(weights) + moved
    largest = largest_of(np.where(pairs.attended, size, 0.0), 1.0)
    overflows = pairs.overflows(max(1, pairs.n) * largest, sums=pairs.products(), factors=largest)
    return WeightBound(weights, moved, size, spread, 0.0, overflows, times * pairs.tiny)
