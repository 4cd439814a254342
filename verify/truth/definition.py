"""The formulas in mpmath, exactly as mechanisms declare them: slow, plain, and at any number of digits.

Nothing here knows about the ball arithmetic of `verify.truth.enclosure`; the two are compared with each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from verify.arguments import checked_integer
from verify.attention.contract import Member
from verify.attention.formula import row_weights
from verify.mechanisms.registry import named_member
from verify.numbers.fields import MpField
from verify.numbers.precision import bits_for, mpmath_precision
from verify.problem import Head, Problem

# Lost to rounding in sums of n terms and in cancelling powers; the definition promises nothing about the last digits
# (that is the ball's business), so a fixed allowance is enough.
GUARD_DIGITS = 15


def exponent_spread(problem: Problem) -> int:
    """Return a bound on the bits between the largest and the smallest product of a query, a key and a value component.

    mpmath's sums leave out terms below the largest by more than twice the precision, whether or not the large ones
    cancel; that many bits more, and none is left out.  1 counts as a component of each: formulas add logits to it, and
    take exponentials from it.
    """
    spread = 3 * 53
    numbers = [problem.alibi_slopes, problem.sinks, problem.bias, problem.softcap]
    added = np.concatenate([np.ravel(x) for x in numbers if x is not None] or [np.zeros(0)])
    for array in (problem.q, problem.k, problem.v, np.array(problem.float_scale), added):
        _, exponents = np.frexp(array[array != 0.0])
        spread += int(exponents.max(initial=1)) - int(exponents.min(initial=1))
    return spread


def weighted_mean(weights: list[Any], values: list[list[Any]]) -> list[Any]:
    """Return sum_t w_t v_t / sum_t w_t for every component of the values: the output of one query.

    Raises ZeroDivisionError when the weights sum to zero.
    """
    total = mp.fsum(weights)
    return [mp.fdot(weights, component) / total for component in zip(*values, strict=True)]


def defined_attention(problem: Problem, member: str | Member, digits: int = 30) -> NDArray[Any]:
    """Return the attention output by its textbook definition, an object array [..., H, n_q, d_v] of mpf.

    Rows that attend to nothing are zero; rows whose weights sum to zero are NaN.  The values carry about `digits`
    digits and no proof: `verify.truth` gives the proof.

    Raises InvalidRequestError for an unknown mechanism, parameters that it does not take, or digits below 1.
    """
    chosen = named_member(member)
    checked_integer("digits", digits, 1)
    with mpmath_precision(bits_for(digits + GUARD_DIGITS) + exponent_spread(problem)):
        output = np.empty(problem.output_shape, dtype=object)
        for head in problem.each_head():
            output[head.index] = _defined_head(head, chosen)
        return output


def _defined_head(head: Head, member: Member) -> NDArray[Any]:
    field = MpField()
    scale = field.scale(head.scale, head.q.shape[1])

    def exact(rows: NDArray[np.float64]) -> list[list[Any]]:
        return [[mp.mpf(x) for x in row] for row in rows.tolist()]

    queries, keys, values = exact(head.q), exact(head.k), exact(head.v)
    attended = head.attendance.rows()
    output = np.empty((len(queries), head.v.shape[1]), dtype=object)
    for row, query in enumerate(queries):
        seen = np.flatnonzero(attended[row])
        if not seen.size:
            output[row] = [mp.zero] * head.v.shape[1]
            continue
        weights = row_weights(field, head, row, (query, [keys[t] for t in seen]), seen, scale, member)
        shown = [values[t] for t in seen]
        if head.kept is not None:
            share = 1 - mp.mpf(head.dropout)
            shown = [[x / share if head.kept[row, t] else mp.zero for x in values[t]] for t in seen]
        if head.sink is not None:
            shown.append([mp.zero] * head.v.shape[1])
        try:
            output[row] = weighted_mean(weights, shown)
        except ZeroDivisionError:
            output[row] = [mp.nan] * head.v.shape[1]
    return output
