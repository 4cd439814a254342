"""The declared formula on a problem: its weights in mpmath, and in float64 with a running account of their rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mpmath import mp

from verify.attention.contract import Member
from verify.attention.formula import row_weights
from verify.families.tracked import TrackedField
from verify.numbers.arrays import Float64Array
from verify.numbers.fields import MpField
from verify.numbers.formats import Format
from verify.numbers.precision import mpmath_precision
from verify.problem import Head, Problem
from verify.problem.selection import of_rows

# Bits of weights in mpmath.
BITS = 200

# Pairs of a query and a key up to which the sums of weights of all rows are compared; of more, those of two rows.
FEW_PAIRS = 40

# Queries of a problem up to which weights are worked out row by row where the rows see different keys.
FEW_ROWS = 8

# By head, the weights of the attended keys of each row.
ExactWeights = dict[tuple[int, ...], list[list[mp.mpf]]]

# By head, weights [n_q, n_k], and what they are off by at most; 0 where not attended.
TrackedWeights = dict[tuple[int, ...], tuple[Float64Array, Float64Array]]


def examined_rows(problem: Problem) -> tuple[list[int], Problem]:
    """Return the rows whose sums of weights are compared, and the problem of these alone: the first and the last."""
    if problem.queries * problem.keys <= FEW_PAIRS or problem.queries <= 2:
        return list(range(problem.queries)), problem
    rows = [0, problem.queries - 1]
    return rows, of_rows(problem, rows)


def exact_weights(problem: Problem, member: Member) -> ExactWeights:
    """Return the weights of every head in mpmath."""
    return {head.index: list(_exact_rows(head, member)) for head in problem.each_head()}


def _exact_rows(head: Head, member: Member) -> Iterator[list[mp.mpf]]:
    attended = head.attendance.rows()
    with mpmath_precision(BITS):
        field = MpField()
        scale = field.scale(head.scale, head.q.shape[1])
        keys = [[mp.mpf(x) for x in key] for key in head.k.tolist()]
    for row, query in enumerate(head.q.tolist()):
        seen = np.flatnonzero(attended[row])
        with mpmath_precision(BITS):
            tokens = [mp.mpf(x) for x in query], [keys[t] for t in seen]
            weights = row_weights(field, head, row, tokens, seen, scale, member) if seen.size else []
        yield weights


def tracked_weights(problem: Problem, member: Member, factors: Format, carrier: np.dtype[Any]) -> TrackedWeights:
    """Return the weights of every head in float64, and how far off the formula is with every step in factors.

    Rows that see the same go through the formula together, and so do more than FEW_ROWS rows, with the keys that they
    do not see as well: a factor that the weights of a row share may be another one then.
    """
    return {head.index: _tracked(head, member, factors, carrier) for head in problem.each_head()}


def _tracked(head: Head, member: Member, factors: Format, carrier: np.dtype[Any]) -> tuple[Float64Array, Float64Array]:
    field = TrackedField(factors, 2.0**-53 if carrier == np.float64 else 2.0**-24)
    scale = field.scale(head.scale, head.q.shape[1])
    keys = [[field.exact(x) for x in key] for key in head.k.tolist()]
    attended = head.attended()
    weights, off = np.zeros(attended.shape), np.zeros(attended.shape)
    alone = head.adjusts or head.sink is not None  # what is added to logits is another in every row
    together = not alone and (len(attended) > FEW_ROWS or bool((attended == attended[:1]).all()))
    for rows in [slice(None)] if together else [slice(row, row + 1) for row in range(len(head.q))]:
        seen = np.flatnonzero(attended[rows, : len(keys)].any(axis=0))
        if not seen.size:
            continue
        with np.errstate(all="ignore"):
            single = rows.start is not None  # as numbers, with which all goes faster than with arrays of one
            q = [field.number(x) for x in (head.q[rows.start] if single else np.ascontiguousarray(head.q.T))]
            found = row_weights(field, head, rows.start or 0, (q, [keys[t] for t in seen]), seen, scale, member)
            columns = [*seen, *range(len(keys), head.columns)]
            for t, number in zip(columns, map(field.tracked, found), strict=True):
                weights[rows, t], off[rows, t] = number.value, number.error + number.doubt
    return np.where(attended, weights, 0.0), np.where(
        attended & np.isfinite(weights), off, np.where(attended, np.inf, 0.0)
    )
