"""The definitions, written out in mpmath exactly as they are published: slow, plain, and at any number of digits.

Nothing here knows about the ball arithmetic of `verify.truth.enclosure`; the two are compared with each other.
Every function takes the tokens one query attends to, as lists of mpf, and works at mpmath's current precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.numbers.precision import bits_for, mpmath_precision
from verify.problem import Head, Problem
from verify.truth.mechanisms import check_mechanism, undefined_mechanism

Vector = Sequence[Any]  # of mpf: mpmath ships no types
Weigh = Callable[[Vector, Sequence[Vector]], list[Any]]

# Lost to rounding in sums of n terms and in cancelling powers; the definition promises nothing about the last digits
# (that is the ball's business), so a fixed allowance is enough.
GUARD_DIGITS = 15


def exponent_spread(problem: Problem) -> int:
    """Return a bound on the bits between the largest and the smallest product of a query, a key and a value component.

    mpmath's sums leave out terms below the largest by more than twice the precision, whether or not the large ones
    cancel; that many bits more, and none is left out.
    """
    spread = 3 * 53
    for array in (problem.q, problem.k, problem.v):
        _, exponents = np.frexp(array[array != 0.0])
        spread += int(exponents.max(initial=-1074)) - int(exponents.min(initial=1024)) if exponents.size else 0
    return spread


def softmax_weights(q: Vector, keys: Sequence[Vector], scale: Any) -> list[Any]:
    """Return exp(q.k_t scale) for every key: conventional attention before normalising (SA, section 2)."""
    return [mp.exp(mp.fdot(q, k) * scale) for k in keys]


def logexp_weights(q: Vector, keys: Sequence[Vector]) -> list[Any]:
    """Return sum_i exp(q_i) exp(k_ti) for every key: LE (1), whose constant c cancels in the quotient."""
    return [mp.fsum(mp.exp(a + b) for a, b in zip(q, k, strict=True)) for k in keys]


def taylor_weights(q: Vector, keys: Sequence[Vector], scale: Any, order: int) -> list[Any]:
    """Return sum over p <= order of (q.k_t scale)^p / p! for every key: SA (3) cut as in SA (9)."""

    def truncated_exponential(logit: Any) -> Any:
        return mp.fsum(logit**p / mp.factorial(p) for p in range(order + 1))

    return [truncated_exponential(mp.fdot(q, k) * scale) for k in keys]


def weighted_mean(weights: Vector, values: Sequence[Vector]) -> list[Any]:
    """Return sum_t w_t v_t / sum_t w_t for every component of the values: the output of one query.

    Raises ZeroDivisionError when the weights sum to zero.
    """
    total = mp.fsum(weights)
    return [mp.fdot(weights, component) / total for component in zip(*values, strict=True)]


def exact_scale(problem: Problem) -> Any:
    """Return the scale of the logits: as given, or 1/sqrt(d_k) at the current precision."""
    return 1 / mp.sqrt(problem.head_size) if problem.scale is None else mp.mpf(problem.scale)


def defined_attention(problem: Problem, *, mechanism: str, order: int | None = None, digits: int = 30) -> NDArray[Any]:
    """Return the attention output by its textbook definition, an object array [..., H, n_q, d_v] of mpf.

    Rows that attend to nothing are zero; rows whose Taylor weights sum to zero are NaN.  The values carry about
    `digits` digits and no proof: `verify.truth` gives the proof.

    Raises InvalidRequestError for an unknown mechanism, an order it does not take, or digits below 1.
    """
    check_mechanism(mechanism, order)
    if digits < 1:
        raise InvalidRequestError(f"{digits} digits", "at least 1", "ask for more digits")
    with mpmath_precision(bits_for(digits + GUARD_DIGITS) + exponent_spread(problem)):
        weigh = _weights(mechanism, order, exact_scale(problem))
        output = np.empty(problem.output_shape, dtype=object)
        for head in problem.each_head():
            output[head.index] = _defined_head(head, weigh)
        return output


def _weights(mechanism: str, order: int | None, scale: Any) -> Weigh:
    if mechanism == "taylor" and order is not None:
        return partial(taylor_weights, scale=scale, order=order)
    if mechanism == "logexp":
        return logexp_weights
    if mechanism == "softmax":
        return partial(softmax_weights, scale=scale)
    raise undefined_mechanism(mechanism, "definition in mpmath")


def _defined_head(head: Head, weigh: Weigh) -> NDArray[Any]:
    def exact(rows: NDArray[np.float64]) -> list[list[Any]]:
        return [[mp.mpf(x) for x in row] for row in rows.tolist()]

    queries, keys, values = exact(head.q), exact(head.k), exact(head.v)
    attended = head.attended()
    output = np.empty((len(queries), head.v.shape[1]), dtype=object)
    for row, query in enumerate(queries):
        seen = np.flatnonzero(attended[row])
        if seen.size == 0:
            output[row] = [mp.zero] * head.v.shape[1]
            continue
        try:
            output[row] = weighted_mean(weigh(query, [keys[t] for t in seen]), [values[t] for t in seen])
        except ZeroDivisionError:
            output[row] = [mp.nan] * head.v.shape[1]
    return output
