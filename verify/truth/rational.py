"""A third account of the exact values, for small problems: rational numbers and intervals between them.

Nothing here trusts any library's exponential: only Python's integers, and a Taylor polynomial with its tail.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import factorial

from verify.numbers.intervals import ONE, ZERO, Interval, exponential, inverse_square_root
from verify.problem import Head, Problem
from verify.truth.mechanisms import undefined_mechanism


def rational_attention(
    problem: Problem, bits: int, mechanism: str, order: int | None = None
) -> Iterator[tuple[tuple[int, ...], Interval]]:
    """Yield (index, interval) for every output of a row that attends to something and has a sum of weights not zero.

    The formulas are those of verify.truth.definition: softmax, LE (1), SA (9).  About `bits` bits are carried, so that
    the intervals are about that narrow where nothing cancels.
    """
    for head in problem.each_head():
        attended = head.attended()
        for row in range(problem.queries):
            seen = [t for t in range(problem.keys) if attended[row, t]]
            if not seen:
                continue
            weights = _weights(problem, head, row, seen, bits, mechanism, order)
            total = sum(weights, Interval(ZERO, ZERO))
            if total.low <= 0 <= total.high:
                continue
            for j in range(problem.value_size):
                terms = (w.times(Fraction(float(head.v[t, j]))) for w, t in zip(weights, seen, strict=True))
                yield (*head.index, row, j), sum(terms, Interval(ZERO, ZERO)) / total


def _weights(
    problem: Problem, head: Head, row: int, seen: list[int], bits: int, mechanism: str, order: int | None
) -> list[Interval]:
    query = [Fraction(x) for x in head.q[row].tolist()]
    keys = [[Fraction(x) for x in head.k[t].tolist()] for t in seen]
    if mechanism not in ("softmax", "logexp", "taylor"):
        raise undefined_mechanism(mechanism, "definition in rational numbers")
    if mechanism == "logexp":
        # shifted so that no exponential is large; the shift cancels in the quotient
        sums = [[a + b for a, b in zip(query, key, strict=True)] for key in keys]
        top = max(max(row_sums) for row_sums in sums)
        return [
            sum((exponential(Interval(x - top, x - top), bits) for x in row_sums), Interval(ZERO, ZERO))
            for row_sums in sums
        ]
    products = [sum((a * b for a, b in zip(query, key, strict=True)), ZERO) for key in keys]
    # 1/sqrt(d) to so many more bits that the logits are as narrow as the weights have to be
    largest = max((abs(p) for p in products), default=ZERO)
    more = (largest.numerator // largest.denominator).bit_length()
    if problem.scale is None:
        scale = inverse_square_root(problem.head_size, bits + more + 16)
    else:
        scale = Interval(Fraction(problem.scale), Fraction(problem.scale))
    logits = [scale.times(product) for product in products]
    if mechanism == "softmax":
        top = max(logit.high for logit in logits)
        return [exponential(Interval(s.low - top, s.high - top), bits) for s in logits]
    assert order is not None, "Taylor attention has an order"
    return [_truncated(s, order) for s in logits]


def _truncated(logit: Interval, order: int) -> Interval:
    power, total = Interval(ONE, ONE), Interval(ONE, ONE)
    for p in range(1, order + 1):
        power = power * logit
        total = total + power.times(Fraction(1, factorial(p)))
    return total
