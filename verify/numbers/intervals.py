"""Intervals between rational numbers, with an exponential and a root that trust no library."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isqrt

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Interval:
    """All real numbers from low to high, both rational."""

    low: Fraction
    high: Fraction

    @classmethod
    def point(cls, x: Fraction | float) -> Interval:
        """Return the interval that is one number; what is worked out of points alone is worked out once."""
        exact = x if isinstance(x, Fraction) else Fraction(x)
        return cls(exact, exact)

    @property
    def is_point(self) -> bool:
        """Whether it was made as one number, or of such."""
        return self.low is self.high

    def __add__(self, other: Interval | Fraction | int) -> Interval:
        """Return the interval of all sums."""
        right = _interval(other)
        low = self.low + right.low
        return Interval(low, low if self.is_point and right.is_point else self.high + right.high)

    __radd__ = __add__

    def __neg__(self) -> Interval:
        """Return the interval of all negatives."""
        high = -self.low
        return Interval(high if self.is_point else -self.high, high)

    def __sub__(self, other: Interval | Fraction | int) -> Interval:
        """Return the interval of all differences."""
        return self + -_interval(other)

    def __rsub__(self, other: Fraction | int) -> Interval:
        return _interval(other) - self

    def __mul__(self, other: Interval | Fraction | int) -> Interval:
        """Return the interval of all products."""
        right = _interval(other)
        if self.is_point and right.is_point:
            return Interval.point(self.low * right.low)
        if self.low >= 0 and right.low >= 0:
            return Interval(self.low * right.low, self.high * right.high)
        ends = [a * b for a in (self.low, self.high) for b in (right.low, right.high)]
        return Interval(min(ends), max(ends))

    __rmul__ = __mul__

    def __truediv__(self, other: Interval | Fraction | int) -> Interval:
        """Return the interval of all quotients; ZeroDivisionError if the divisor may be zero."""
        right = _interval(other)
        if right.low <= 0 <= right.high:
            raise ZeroDivisionError("an interval that contains zero")
        low = 1 / right.high
        return self * Interval(low, low if right.is_point else 1 / right.low)

    def __rtruediv__(self, other: Fraction | int) -> Interval:
        return _interval(other) / self

    def __pow__(self, exponent: int) -> Interval:
        """Return the interval of all powers, for a whole exponent of at least 0."""
        if self.is_point:
            return Interval.point(self.low**exponent)
        ends = [self.low**exponent, self.high**exponent]
        if exponent and exponent % 2 == 0 and self.low < 0 < self.high:
            ends.append(ZERO)
        return Interval(min(ends), max(ends))


# exp of numbers up to this is worked out, in some 24,000 digits at most.
LARGEST_EXPONENT = 1 << 14


def exponential(x: Interval, bits: int) -> Interval:
    """Return an interval that contains exp(t) for every t in x, about `bits` bits wide of the value.

    Below -LARGEST_EXPONENT it is that from 0 to exp(-LARGEST_EXPONENT); OverflowError above LARGEST_EXPONENT.
    """
    if x.high > LARGEST_EXPONENT:
        raise OverflowError(f"exp of a number above {LARGEST_EXPONENT}")
    if x.low < -LARGEST_EXPONENT:
        end = max(x.high, Fraction(-LARGEST_EXPONENT))
        return Interval(ZERO, exponential(Interval(end, end), bits).high)
    fine = 2 ** (bits + 16)  # rounding the argument outward this finely moves the value by less than its width
    low, high = Fraction(floor(x.low * fine), fine), Fraction(ceil(x.high * fine), fine)
    return Interval(_exp_ends(low, bits)[0], _exp_ends(high, bits)[1])


def _exp_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Return rational bounds of exp(x) for a multiple x of 2^-(bits + 16).

    With r = x / 2^h, |r| <= 1/2, the terms r^n / n! are added up as integers, in units of 2^-c.  Each is the one before
    times r / n, rounded down: off by at most half of what that was off by, and 1, so by less than 2.  Where it has
    become 0 or -1, r^n / n! is below 3, and all that follow together, each at most a quarter of the one before, are
    below 1.

    Then exp(x) = exp(r)^(2^h), by h squarings of a positive interval, each rounded outward; a squaring doubles the
    relative width, so h bits more are carried.
    """
    if x == 0:
        return ONE, ONE
    halvings = max(0, (abs(x.numerator) // x.denominator).bit_length() + 1)
    carried = bits + halvings + 16
    r = int(x * 2 ** (bits + 16))  # in units of 2^-carried: exact
    term = total = 1 << carried
    n = 0
    while term not in (0, -1):
        n += 1
        term = term * r // (n << carried)
        total += term
    off = 2 * n + 1
    low, high, places = total - off, total + off, carried  # in units of 2^-places
    for _ in range(halvings):
        low, high, places = low * low, high * high, 2 * places
        cut = max(0, low.bit_length() - carried)
        low, high, places = low >> cut, -(-high >> cut), places - cut
    unit = Fraction(1, 1 << places) if places >= 0 else Fraction(1 << -places)
    return low * unit, high * unit


def hyperbolic_tangent(x: Interval, bits: int) -> Interval:
    """Return an interval that contains tanh(t) for every t in x, about `bits` bits wide of the value.

    tanh(t) = (1 - e) / (1 + e), e = exp(-2 t), rises with t and is odd; for t > bits, e is below 4^-bits.  Where t is
    small 1 - e cancels: as many bits more are carried.
    """
    return Interval(_tanh_ends(x.low, bits)[0], _tanh_ends(x.high, bits)[1])


def _tanh_ends(t: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    if t < 0:
        low, high = _tanh_ends(-t, bits)
        return -high, -low
    if t == 0:
        return ZERO, ZERO
    if t > bits:
        return 1 - 2 * Fraction(1, 1 << 2 * bits), ONE
    small = max(0, t.denominator.bit_length() - t.numerator.bit_length() + 1)
    e = exponential(Interval(-2 * t, -2 * t), bits + small)
    return (1 - e.high) / (1 + e.high), (1 - e.low) / (1 + e.low)


def square_root(x: Interval, bits: int) -> Interval:
    """Return an interval that contains sqrt(t) for every t >= 0 in x, about `bits` bits wide of the value."""
    if x.low < 0:
        raise ValueError(f"the square root of a number that may be {float(x.low)!r}")
    return Interval(_root_floor(x.low, bits)[0], _root_floor(x.high, bits)[1])


def _root_floor(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Return bounds of sqrt(a / b) = sqrt(a b 4^k) / (b 2^k) by the integer square root, which has `bits` bits."""
    product = x.numerator * x.denominator
    k = max(0, bits + 1 - product.bit_length() // 2)
    root = isqrt(product << 2 * k)
    exact = root * root == product << 2 * k
    unit = Fraction(1, x.denominator << k)
    return root * unit, (root + (not exact)) * unit


def _interval(x: Interval | Fraction | int) -> Interval:
    if isinstance(x, float):
        raise TypeError(f"{x!r}, a float, in a formula: write f.ratio(1, 10) for 1/10, or f.exact(0.1) for the float")
    return x if isinstance(x, Interval) else Interval.point(x)
