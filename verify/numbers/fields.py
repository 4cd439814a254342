"""One formula in several kinds of numbers: what a mechanism's formula may do, in balls, mpmath, rationals and float64.

A formula is written over a field f and adds, subtracts, multiplies and divides its numbers with the signs of Python.
Whole numbers and what `f.ratio` returns may stand beside them.  In float64 a number may be a whole array of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any, Protocol

import numpy as np
from flint import arb
from mpmath import mp

from verify.numbers.intervals import ONE, ZERO, Interval, exponential, hyperbolic_tangent, square_root

Number = Any  # arb, mpf, Interval, or float64, one or an array of them


class Field(Protocol):
    """A kind of numbers, at the precision there is.

    def weight(self, f, q, k, scale, member):
        return f.exp(f.dot(q, k) * scale)
    """

    def exact(self, x: float) -> Number:
        """Return a float64 number, exactly."""

    def ratio(self, x: Fraction | int) -> Number:
        """Return a rational number, as exactly as the field has it."""

    def exp(self, x: Number) -> Number:
        """Return e to the power x."""

    def sqrt(self, x: Number) -> Number:
        """Return the square root of x >= 0."""

    def tanh(self, x: Number) -> Number:
        """Return the hyperbolic tangent of x."""

    def positive(self, x: Number) -> Number:
        """Return the larger of x and 0."""

    def sum(self, terms: Sequence[Number]) -> Number:
        """Return the sum; 0 of nothing."""

    def dot(self, one: Sequence[Number], other: Sequence[Number]) -> Number:
        """Return the sum of the products, one by one."""

    def largest(self, numbers: Sequence[Number]) -> Number:
        """Return a number near the largest, to be taken from all of them where that cancels."""

    def scale(self, scale: float | None, head_size: int) -> Number:
        """Return the scale of the logits, where none is given 1/sqrt(d_k)."""


class _Plain:
    """What fields whose numbers know their own operations have in common."""

    def ratio(self, x: Fraction | int) -> Number:
        """Return a quotient of two numbers that are exact."""
        exact = x if isinstance(x, Fraction | int) else Fraction(x)
        return self.whole(exact.numerator) / self.whole(exact.denominator)

    def whole(self, x: int) -> Number:
        """Return an integer."""
        raise NotImplementedError

    def exact(self, x: float) -> Number:
        """Return a float64 number, exactly."""
        raise NotImplementedError

    def sqrt(self, x: Number) -> Number:
        """Return the square root."""
        raise NotImplementedError

    def sum(self, terms: Sequence[Number]) -> Number:
        """Return the sum, term by term."""
        return reduce(add, terms) if terms else self.whole(0)

    def dot(self, one: Sequence[Number], other: Sequence[Number]) -> Number:
        """Return the sum of the products, term by term."""
        return self.sum([a * b for a, b in zip(one, other, strict=True)])

    def scale(self, scale: float | None, head_size: int) -> Number:
        """Return the scale, or 1 / sqrt(d_k) by two operations."""
        return self.whole(1) / self.sqrt(self.whole(head_size)) if scale is None else self.exact(scale)


class BallField(_Plain):
    """Balls of flint at the precision that is set: every result contains the exact one."""

    def whole(self, x: int) -> arb:
        """Return an integer, exactly."""
        return arb(x)

    def exact(self, x: float) -> arb:
        """Return a float64 number, exactly."""
        return arb(x)

    def exp(self, x: arb) -> arb:
        """Return a ball with e to the power of every number in x."""
        return x.exp()

    def sqrt(self, x: arb) -> arb:
        """Return a ball with the square roots; NaN where x may be negative."""
        return x.sqrt()

    def tanh(self, x: arb) -> arb:
        """Return a ball with the hyperbolic tangents."""
        return x.tanh()

    def positive(self, x: arb) -> arb:
        """Return a ball with max(t, 0) for every t in x."""
        return x.max(arb(0))

    def largest(self, numbers: Sequence[arb]) -> arb:
        """Return the largest of the midpoints, exactly."""
        return max((x.mid() for x in numbers), default=arb(0))

    def scale(self, scale: float | None, head_size: int) -> arb:
        """Return the scale, or 1 / sqrt(d_k) in one operation."""
        return arb(head_size).rsqrt() if scale is None else arb(scale)


class MpField(_Plain):
    """mpmath's numbers at the precision that is set."""

    def whole(self, x: int) -> Number:
        """Return an integer."""
        return mp.mpf(x)

    def exact(self, x: float) -> Number:
        """Return a float64 number, exactly."""
        return mp.mpf(x)

    def exp(self, x: Number) -> Number:
        """Return e to the power x."""
        return mp.exp(x)

    def sqrt(self, x: Number) -> Number:
        """Return the square root."""
        return mp.sqrt(x)

    def tanh(self, x: Number) -> Number:
        """Return the hyperbolic tangent."""
        return mp.tanh(x)

    def positive(self, x: Number) -> Number:
        """Return the larger of x and 0."""
        return max(x, mp.zero)

    def sum(self, terms: Sequence[Number]) -> Number:
        """Return the sum, rounded once."""
        return mp.fsum(terms)

    def dot(self, one: Sequence[Number], other: Sequence[Number]) -> Number:
        """Return the sum of the products, rounded once."""
        return mp.fdot(one, other)

    def largest(self, numbers: Sequence[Number]) -> Number:
        """Return the largest."""
        return max(numbers, default=mp.zero)


class RationalField(_Plain):
    """Intervals between rational numbers, about 2**-bits of their numbers wide; no library's functions are trusted."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def whole(self, x: int) -> Interval:
        """Return an integer, exactly."""
        return Interval.point(x)

    def exact(self, x: float) -> Interval:
        """Return a float64 number, exactly."""
        return Interval.point(x)

    def exp(self, x: Interval) -> Interval:
        """Return an interval with e to the power of every number in x."""
        return exponential(x, self.bits)

    def sqrt(self, x: Interval) -> Interval:
        """Return an interval with the square roots."""
        return square_root(x, self.bits)

    def tanh(self, x: Interval) -> Interval:
        """Return an interval with the hyperbolic tangents."""
        return hyperbolic_tangent(x, self.bits)

    def positive(self, x: Interval) -> Interval:
        """Return the interval of max(t, 0) for every t in x."""
        return Interval(max(x.low, ZERO), max(x.high, ZERO))

    def largest(self, numbers: Sequence[Interval]) -> Interval:
        """Return the largest upper end, exactly."""
        top = max((x.high for x in numbers), default=ONE)
        return Interval(top, top)


class FloatField(_Plain):
    """float64, one number or an array of them at a time."""

    def whole(self, x: int) -> Number:
        """Return the nearest float64."""
        return np.float64(x)

    def exact(self, x: float) -> Number:
        """Return a float64 number."""
        return np.float64(x)

    def ratio(self, x: Fraction | int) -> Number:
        """Return the nearest float64."""
        return np.float64(float(x))

    def exp(self, x: Number) -> Number:
        """Return e to the power x."""
        return np.exp(x)

    def sqrt(self, x: Number) -> Number:
        """Return the square root."""
        return np.sqrt(x)

    def tanh(self, x: Number) -> Number:
        """Return the hyperbolic tangent."""
        return np.tanh(x)

    def positive(self, x: Number) -> Number:
        """Return the larger of x and 0."""
        return np.maximum(x, 0.0)

    def largest(self, numbers: Sequence[Number]) -> Number:
        """Return the largest, place by place."""
        return reduce(np.maximum, numbers) if numbers else np.float64(0.0)

    def scale(self, scale: float | None, head_size: int) -> Number:
        """Return the scale in float64."""
        return np.float64(head_size**-0.5 if scale is None else scale)
