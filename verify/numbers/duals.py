"""Numbers with their derivative: a formula over them gives both, in balls, mpmath or rationals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from verify.numbers.fields import Field, Number


class Dual:
    """x and dx: every operation follows the rules of differentiation."""

    __slots__ = ("slope", "value")
    __array_ufunc__ = None

    def __init__(self, value: Number, slope: Number) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.slope + other.slope)
        return Dual(self.value + other, self.slope)

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Dual:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Dual:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)
        return Dual(self.value * other, self.slope * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            quotient = self.value / other.value
            return Dual(quotient, (self.slope - quotient * other.slope) / other.value)
        return Dual(self.value / other, self.slope / other)

    def __rtruediv__(self, other: Any) -> Dual:
        quotient = other / self.value
        return Dual(quotient, -quotient * self.slope / self.value)

    def __pow__(self, exponent: int) -> Dual | int:
        if not exponent:
            return 1
        below = self.value ** (exponent - 1)
        return Dual(below * self.value, below * self.slope * exponent)


class DualField:
    """Dual numbers over another field; constants have the derivative 0."""

    def __init__(self, base: Field, side: Callable[[Number], Number]) -> None:
        """Take the field, and what the derivative of max(x, 0) is in it."""
        self.base, self.side = base, side
        self.zero = base.ratio(0)

    def _constant(self, x: Number) -> Dual:
        return Dual(x, self.zero)

    def _of(self, x: Any) -> Dual:
        return x if isinstance(x, Dual) else self.ratio(x)

    def exact(self, x: float) -> Dual:
        """Return a float64 number, exactly."""
        return self._constant(self.base.exact(x))

    def ratio(self, x: Fraction | int) -> Dual:
        """Return a rational number."""
        return self._constant(self.base.ratio(x))

    def exp(self, x: Dual) -> Dual:
        """Return e to the power x."""
        value = self.base.exp(x.value)
        return Dual(value, value * x.slope)

    def sqrt(self, x: Dual) -> Dual:
        """Return the square root of x > 0."""
        value = self.base.sqrt(x.value)
        return Dual(value, x.slope / (value * 2))

    def tanh(self, x: Dual) -> Dual:
        """Return the hyperbolic tangent."""
        value = self.base.tanh(x.value)
        return Dual(value, (1 - value * value) * x.slope)

    def positive(self, x: Dual) -> Dual:
        """Return the larger of x and 0."""
        return Dual(self.base.positive(x.value), self.side(x.value) * x.slope)

    def sum(self, terms: Sequence[Any]) -> Dual:
        """Return the sum."""
        found = [self._of(x) for x in terms]
        return Dual(self.base.sum([x.value for x in found]), self.base.sum([x.slope for x in found]))

    def dot(self, one: Sequence[Any], other: Sequence[Any]) -> Dual:
        """Return the sum of the products."""
        return self.sum([self._of(a) * self._of(b) for a, b in zip(one, other, strict=True)])

    def largest(self, numbers: Sequence[Any]) -> Dual:
        """Return a constant near the largest: what is taken from all of them cancels, whatever it is."""
        return self._constant(self.base.largest([self._of(x).value for x in numbers]))

    def scale(self, scale: float | None, head_size: int) -> Dual:
        """Return the scale of the logits."""
        return self._constant(self.base.scale(scale, head_size))
