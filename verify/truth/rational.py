"""A third account of the exact values, for small problems: rational numbers and intervals between them.

Nothing here trusts any library's exponential: only Python's integers, and a Taylor polynomial with its tail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, factorial, floor, isqrt

from verify.problem import Head, Problem
from verify.truth.mechanisms import undefined_mechanism

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Interval:
    """All real numbers from low to high, both rational."""

    low: Fraction
    high: Fraction

    def __add__(self, other: Interval) -> Interval:
        """Return the interval of all sums."""
        return Interval(self.low + other.low, self.high + other.high)

    def times(self, factor: Fraction) -> Interval:
        """Return the interval of all products with one number."""
        ends = (self.low * factor, self.high * factor)
        return Interval(min(ends), max(ends))

    def __mul__(self, other: Interval) -> Interval:
        """Return the interval of all products."""
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(min(ends), max(ends))

    def __truediv__(self, other: Interval) -> Interval:
        """Return the interval of all quotients; ZeroDivisionError if the divisor may be zero."""
        if other.low <= 0 <= other.high:
            raise ZeroDivisionError("an interval that contains zero")
        return self * Interval(1 / other.high, 1 / other.low)

    def outward(self, bits: int) -> Interval:
        """Return a slightly larger interval whose ends have at most about `bits` significant bits."""
        return Interval(_floor(self.low, bits), -_floor(-self.high, bits))


def _floor(x: Fraction, bits: int) -> Fraction:
    """Return x rounded down to about `bits` significant bits."""
    if x == 0:
        return x
    shift = bits - (abs(x.numerator).bit_length() - x.denominator.bit_length())
    scaled = x * Fraction(2) ** shift
    return (scaled.numerator // scaled.denominator) / Fraction(2) ** shift


def exponential(x: Interval, bits: int) -> Interval:
    """Return an interval that contains exp(t) for every t in x, about `bits` bits wide of the value."""
    fine = 2 ** (bits + 16)  # rounding the argument outward this finely moves the value by less than its width
    low, high = Fraction(floor(x.low * fine), fine), Fraction(ceil(x.high * fine), fine)
    return Interval(_exp_ends(low, bits)[0], _exp_ends(high, bits)[1])


def _exp_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Return rational bounds of exp(x).

    With r = x / 2^h, |r| <= 1/2:  |exp(r) - sum over n < N of r^n / n!| <= 2 |r|^N / N!, since the terms that follow
    shrink by a factor of at least 2 each.  Then exp(x) = exp(r)^(2^h), by h squarings of a positive interval, each
    rounded outward; a squaring doubles the relative width, so h bits more are carried.
    """
    halvings = max(0, (abs(x.numerator) // x.denominator).bit_length() + 1)
    carried = bits + halvings + 16
    r = x / 2**halvings
    terms, bound = 0, ONE
    while bound > Fraction(1, 2**carried):
        terms += 1
        bound = 2 * abs(r) ** terms / factorial(terms)
    total = sum((r**n / factorial(n) for n in range(max(1, terms))), ZERO)
    value = Interval(total - bound, total + bound).outward(carried)
    for _ in range(halvings):
        value = (value * value).outward(carried)
    return value.low, value.high


def inverse_square_root(size: int, bits: int) -> Interval:
    """Return an interval that contains 1/sqrt(size), from the integer square root of 4^bits / size."""
    low = isqrt(4**bits // size)  # floor(sqrt(floor(x))) = floor(sqrt(x))
    return Interval(Fraction(low, 2**bits), Fraction(low + 1, 2**bits))


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
