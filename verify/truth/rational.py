"""A third account of the exact values, for small problems: rational numbers and intervals between them.

Nothing here trusts any library's exponential: only Python's integers, and a Taylor polynomial with its tail.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from verify.attention.contract import Member
from verify.attention.formula import row_weights
from verify.mechanisms.registry import named_member
from verify.numbers.fields import RationalField
from verify.numbers.intervals import ZERO, Interval
from verify.problem import Head, Problem


def rational_attention(problem: Problem, member: str | Member, bits: int) -> Iterator[tuple[tuple[int, ...], Interval]]:
    """Yield (index, interval) for every output of a row that attends to something and has a sum of weights not zero.

    Rows with an exponential of a number above `verify.numbers.intervals.LARGEST_EXPONENT` are left out.

    The formula is the mechanism's own.  About `bits` bits are carried, so that the intervals are about that narrow
    where nothing cancels.
    """
    chosen = named_member(member)
    for head in problem.each_head():
        attended = head.attendance.rows()
        field = RationalField(bits + _more_bits(head))
        scale = field.scale(head.scale, problem.head_size)
        keys = [[field.exact(x) for x in key] for key in head.k.tolist()]
        for row in range(problem.queries):
            seen = np.flatnonzero(attended[row])
            if not seen.size:
                continue
            query = [field.exact(x) for x in head.q[row].tolist()]
            try:
                weights = row_weights(field, head, row, (query, [keys[t] for t in seen]), seen, scale, chosen)
            except OverflowError:  # an exponential with too many digits to be written out
                continue
            total = sum(weights, Interval(ZERO, ZERO))
            if total.low <= 0 <= total.high:
                continue
            total *= 1 - Fraction(head.dropout)
            for j in range(problem.value_size):
                kept = [t for t in seen if head.kept is None or head.kept[row, t]]
                by_key = dict(zip(seen, weights, strict=False))  # a sink, the last, has no value
                terms = (by_key[t] * Fraction(float(head.v[t, j])) for t in kept)
                yield (*head.index, row, j), sum(terms, Interval(ZERO, ZERO)) / total


def _more_bits(head: Head) -> int:
    """Return the bits of the largest product q.k: 1/sqrt(d) has so many more that logits are as narrow as weights."""
    largest = Fraction(0)
    for query in head.q.tolist():
        for key in head.k.tolist():
            product = sum((Fraction(a) * Fraction(b) for a, b in zip(query, key, strict=True)), Fraction(0))
            largest = max(largest, abs(product))
    added = [] if head.bias is None else [float(np.abs(head.bias).max(initial=0.0))]
    added += [] if head.slope is None else [abs(head.slope) * float(head.distances().max(initial=0))]
    added += [] if head.sink is None else [abs(head.sink)]
    largest += sum(map(Fraction, added), Fraction(0))
    return (largest.numerator // largest.denominator).bit_length() + 16
