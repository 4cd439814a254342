"""How far a careful computation in an arithmetic is off, row by row: the floor below which no error says anything.

Every rounding is taken as independent with its unit roundoff as its size, u_f of factors, u_s of sums, u_o of the
output; sizes of independent errors add up as squares do.  With p_t = w_t / Z, m_t the magnitudes that w_t is added up
from, divided by |Z|, and a_t = |scale| sqrt(sum_i (q_i k_ti)^2), the size of a row's error has these parts:

    logits      delta_t = u_s sqrt(d a_t^2 + 4 (s_t^2 + (s_t - max s)^2 + b_t^2) + 16), b_t what is added to the logit
    weights     sqrt(sum_t m_t^2 (delta_t^2 + u_f^2) (v_t - y)^2), and u_s |sum_t p_t s_t (v_t - y)| for a rounded scale
    sums        u_s sqrt(n) (M + |y|), M the largest partial sum |sum_{t <= j} p_t v_t| (N. J. Higham, Accuracy and
                Stability of Numerical Algorithms, 2nd edition, section 4.2, for one after the other)
    output      u_o |y|, 2 u_s |y|, and the smallest numbers of the formats
    logarithm   u_s |max s| |y|, of those who divide by subtracting the logarithm of the sum of weights: a factor that
                all weights of a row share (P. Blanchard, D. J. Higham, N. J. Higham, IMA J. Numer. Anal. 41(4), 2021)

n counts the keys that a row sees.  The squares are averaged over the elements of the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verify.attention.contract import Member
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.problem.head import Head

# Pairs of a query and a key whose weights are held at once.
_PAIRS = 1 << 20

# Places at which partial sums over keys are looked at.
_PARTS = 128


@dataclass(frozen=True, eq=False)
class RowNoise:
    """The size of a careful computation's error in each row, root mean square over its elements, [..., H, n_q].

    size: of the error, infinite where nothing can be said.  before: the same before the output is rounded to its own
    format.
    """

    size: Float64Array
    before: Float64Array


def row_noise(problem: Problem, member: Member, exact: Float64Array, arithmetic: Arithmetic) -> RowNoise:
    """Return how far off each row of a careful computation is.

    exact: the exact output, [..., H, n_q, d_v].
    """
    sizes, before = (np.zeros(problem.output_shape[:-1]) for _ in range(2))
    step = max(1, _PAIRS // max(1, problem.keys))
    with np.errstate(all="ignore"):
        for head in problem.each_head():
            # in units of the largest value, a power of 2: squares of numbers near either end of float64 are none
            unit = np.ldexp(1.0, int(np.frexp(np.abs(head.values).max(initial=0.0))[1]) - 1)
            for first in range(0, problem.queries, step):
                rows = slice(first, min(first + step, problem.queries))
                y = exact[head.index][rows] / unit
                squares = sum(_squares(head, rows, member, y, unit, arithmetic))
                before[head.index][rows] = unit * np.sqrt(np.mean(squares, axis=1))
                squares = squares + np.square(2.0**-arithmetic.output.precision * np.abs(y))
                sizes[head.index][rows] = unit * np.sqrt(np.mean(squares, axis=1)) + arithmetic.output.smallest
    return RowNoise(*(np.where(np.isfinite(x), x, np.inf) for x in (sizes, before)))


def _squares(
    head: Head, rows: slice, member: Member, y: Float64Array, unit: float, arithmetic: Arithmetic
) -> Iterator[Float64Array]:
    """Yield the squares of the parts of the noise but for the rounding of the output, [rows, d_v], in a unit as y."""
    u_f, u_s = 2.0**-arithmetic.factors.precision, 2.0**-arithmetic.sums.precision
    attended, v = head.attended(rows), head.values / unit
    seen = attended.sum(axis=1, keepdims=True)
    weights, magnitudes = (
        np.where(attended, x, 0.0) for x in member.mechanism.float_weights(head, rows, attended, member)
    )
    z = weights.sum(axis=1, keepdims=True)
    shares, sizes = weights / z, magnitudes / np.abs(z)
    logits = np.where(attended, head.logits(rows), 0.0)
    top = np.where(attended, head.logits(rows), -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    products = np.zeros_like(logits)
    products[:, : len(head.k)] = np.square(head.float_scale) * (np.square(head.q[rows]) @ np.square(head.k).T)
    top = np.where(np.isfinite(top), top, 0.0)
    delta = head.q.shape[1] * products + 16.0
    delta += 4.0 * (np.square(logits) + np.square(logits - top))
    delta += 4.0 * np.square(head.added_sizes(rows))
    if head.softcap is not None:
        delta += 16.0 * np.square(head.softcap)
    moved = np.where(attended, np.square(sizes) * (u_s**2 * delta + u_f**2), 0.0)
    # sum of a_t (v_t - y)^2 without a difference for every row
    yield np.maximum(moved @ np.square(v) - 2 * y * (moved @ v) + np.square(y) * moved.sum(axis=1, keepdims=True), 0.0)
    yield np.square(u_s * ((shares * logits) @ v - y * (shares * logits).sum(axis=1, keepdims=True)))
    yield np.square(u_s * np.sqrt(seen) * (_largest_partial_sum(shares, v) + np.abs(y)))
    yield np.square(2.0 * u_s * np.abs(y))
    yield np.square(u_s * top * y)
    yield np.square(arithmetic.sums.smallest / unit * np.sqrt(seen)) + 0.0 * y


def _largest_partial_sum(shares: Float64Array, v: Float64Array) -> Float64Array:
    """Return the largest |sum over the first keys of p_t v_t|, looked at in some places, [rows, d_v]."""
    step = max(1, -(-len(v) // _PARTS))
    largest = total = np.zeros((len(shares), v.shape[1]))
    for first in range(0, len(v), step):
        total = total + shares[:, first : first + step] @ v[first : first + step]
        largest = np.maximum(largest, np.abs(total))
    return largest
