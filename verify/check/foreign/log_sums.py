"""Logarithms of sums of exponentials, as kernels return them beside outputs, judged as outputs are.

What is allowed in a row is FACTOR (c + f), as in `verify.check.judgement`: c is the error of a conventional computation
in the arithmetic, the maximum plus the logarithm of the sum, and f the size that independent roundings have. With
p_t the weights and delta_t the size of the errors of logits (`verify.check.noise`),

    f^2 = sum_t p_t^2 delta_t^2 + u_s^2 ((sum_t p_t s_t)^2 + n + 4 (max s)^2 + 4 L^2),

n the keys that the row sees, L the natural logarithm, u_s the unit roundoff of sums; all over ln 2 for base 2.
What is compared with is what zeros, and the logarithm of the number of keys, would lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from verify.check.judgement import FACTOR, Standard
from verify.measure.metrics import Enclosed, root_mean_square
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem.head import Head
from verify.truth import Reference

NATURAL = "it would be right to base e; base 2 is asked for"


@dataclass(frozen=True, eq=False)
class LogSums:
    """Exact logarithms to base 2, [..., H, n_q, 1], with their radii."""

    value: Float64Array
    radius: Float64Array

    @property
    def residual(self) -> Float64Array:
        """Nothing: it is in the radius."""
        return np.zeros_like(self.value)


def log_sum_standard(exact: Reference, arithmetic: Arithmetic) -> Standard:
    """Return what logarithms of sums to base 2 are held against; rows that see no key are not judged."""
    problem = exact.problem
    value, radius = (array[..., None] for array in exact.log_sum_exp(2))
    rows = problem.attended_rows
    own: Enclosed = LogSums(np.where(rows[..., None], value, 0.0), radius)
    floor, usual, flat = (np.zeros(rows.shape) for _ in range(3))
    for head in problem.each_head():
        floor[head.index], usual[head.index], flat[head.index] = _head(head, arithmetic)
    error = np.abs(usual - own.value[..., 0])
    lost = [
        ("zeros", root_mean_square(own.value[..., 0][rows])),
        ("the number of keys", root_mean_square((own.value[..., 0] - flat)[rows])),
    ]
    return Standard(
        problem=problem,
        exact=own,
        arithmetic=arithmetic,
        rows=rows,
        allowed=FACTOR * (error + floor),
        before=FACTOR * floor,
        usual=usual[..., None],
        first=root_mean_square(error[rows]) if rows.any() else 0.0,
        lost=tuple(lost),
    )


def _head(head: Head, arithmetic: Arithmetic) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the floor, the conventional answer and the logarithm of the number of keys, of each row of a head."""
    u, seen = 2.0**-arithmetic.sums.precision, head.attended()
    kind = arithmetic.dtype.type
    with np.errstate(all="ignore"):
        computed = kind(head.float_scale) * (head.q.astype(kind) @ head.k.astype(kind).T)
        computed = np.where(seen, computed, -np.inf)
        top = computed.max(axis=1, keepdims=True, initial=-np.inf)
        sums = np.exp(computed - top).sum(axis=1, keepdims=True)
        usual = ((top + np.log(sums)) * kind(1 / log(2)))[:, 0].astype(np.float64)
        logits = np.where(seen, head.logits(), -np.inf)
        highest = logits.max(axis=1, keepdims=True, initial=-np.inf)
        weights = np.exp(logits - highest)
        shares = weights / weights.sum(axis=1, keepdims=True)
        finite = np.where(seen, logits, 0.0)
        products = np.square(head.float_scale) * (np.square(head.q) @ np.square(head.k).T)
        delta = head.q.shape[1] * products + 4.0 * np.square(finite) + 16.0
        size = (np.square(shares) * delta).sum(axis=1) + np.square((shares * finite).sum(axis=1))
        size += seen.sum(axis=1) + 4.0 * np.square(highest[:, 0]) + 4.0 * np.square(usual * log(2))
        floor = u * np.sqrt(size) / log(2)
        flat = np.log2(seen.sum(axis=1))
    empty = ~seen.any(axis=1)
    return tuple(np.where(empty, 0.0, array) for array in (floor, usual, flat))  # type: ignore[return-value]
