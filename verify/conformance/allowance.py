"""What computing a formula in float64 may lose, for a form that declares no bound: the formula itself, tracked.

The declared formula is evaluated with a running account of its rounding (`verify.families.tracked`), which knows how
many operations there are and what cancels.  A form may arrange the same formula otherwise, as features or logarithms:
it may lose LEEWAY times as much.
"""

from __future__ import annotations

import numpy as np

from verify.attention.contract import Member
from verify.bounds.outputs import rounding_bound
from verify.bounds.pairs import Pairs, WeightBound
from verify.families.tracked import TrackedField
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Head, Problem

LEEWAY = 2.0**10

UNIT = 2.0**-53

FLOAT64 = ARITHMETICS["float64"]


def allowance(problem: Problem, exact: Float64Array, member: Member) -> Float64Array:
    """Return how far off a float64 output may be, [..., H, n_q, d_v]: LEEWAY times what the declared formula loses."""
    return rounding_bound(problem, exact, FLOAT64, lambda pairs: _as_declared(pairs, member)).sure


def _as_declared(pairs: Pairs, member: Member) -> WeightBound:
    weights, off = declared_weights(pairs.head, pairs.rows, pairs.attended, member)
    moved = LEEWAY * (off + UNIT * np.abs(weights)) + pairs.tiny
    # LEEWAY roundings for every key: sums over features and tokens, and the quotient
    spread = pairs.gamma(LEEWAY * (pairs.n + 1), UNIT)
    return WeightBound(weights, moved, np.abs(weights) + moved, spread, 0.0, False, LEEWAY * pairs.tiny)


def declared_weights(head: Head, rows: slice, attended: BoolArray, member: Member) -> tuple[Float64Array, Float64Array]:
    """Return weights by the declared formula in float64, and what they are off by at most, [rows, n_k]; 0 elsewhere."""
    field = TrackedField(FLOAT64.sums, 2.0**-53)
    scale = field.scale(head.scale, head.q.shape[1])
    keys = [[field.exact(x) for x in key] for key in head.k.tolist()]
    weights, off = np.zeros(attended.shape), np.zeros(attended.shape)
    with np.errstate(all="ignore"):
        for row, query in enumerate(head.q[rows].tolist()):
            seen = np.flatnonzero(attended[row])
            if not seen.size:
                continue
            q = [field.exact(x) for x in query]
            found = member.mechanism.weights(field, q, [keys[t] for t in seen], scale, member)
            numbers = [field.tracked(w) for w in found]
            weights[row, seen] = [x.value for x in numbers]
            off[row, seen] = [x.error + x.doubt for x in numbers]
    return weights, np.where(np.isfinite(weights), off, np.inf)
