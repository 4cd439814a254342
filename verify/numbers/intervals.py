"""Intervals between rational numbers, with an exponential and a root that trust no library."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, factorial, floor, isqrt

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
