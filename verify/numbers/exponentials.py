"""Sums of exponentials, exactly: numbers sum_x c_x e^x whose exponents and coefficients lie in Q(sqrt r).

Exponentials of different algebraic numbers are linearly independent over the algebraic numbers (Lindemann and
Weierstrass; A. Baker, Transcendental Number Theory, theorem 1.4): such a sum is 0 only if all its coefficients are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from math import isqrt
from operator import add, mul
from typing import Any, NamedTuple

from gmpy2 import mpq


class InexpressibleError(ArithmeticError):
    """A formula leaves the sums of exponentials, by a root, a quotient or an exponential that is none of them."""


class Surd(NamedTuple):
    """The number a + b sqrt(r) for rational a and b, r being the field's."""

    a: mpq
    b: mpq


_ZERO, _ONE = mpq(0), mpq(1)
NOTHING, UNIT = Surd(_ZERO, _ZERO), Surd(_ONE, _ZERO)


@dataclass(frozen=True, slots=True)
class Exponentials:
    """sum over x of terms[x] e^x; no coefficient is 0, and so the sum is 0 only where there are no terms."""

    field: ExponentialField
    terms: dict[Surd, Surd]

    def __add__(self, other: Any) -> Exponentials:
        right = self.field.number(other)
        terms = dict(self.terms)
        for x, c in right.terms.items():
            before = terms.get(x, NOTHING)
            terms[x] = Surd(before.a + c.a, before.b + c.b)
        return self.field.made(terms)

    __radd__ = __add__

    def __neg__(self) -> Exponentials:
        return Exponentials(self.field, {x: Surd(-c.a, -c.b) for x, c in self.terms.items()})

    def __sub__(self, other: Any) -> Exponentials:
        return self + -self.field.number(other)

    def __rsub__(self, other: Any) -> Exponentials:
        return self.field.number(other) - self

    def __mul__(self, other: Any) -> Exponentials:
        right = self.field.number(other)
        terms: dict[Surd, Surd] = {}
        for x, c in self.terms.items():
            for y, e in right.terms.items():
                place, product = Surd(x.a + y.a, x.b + y.b), self.field.times(c, e)
                before = terms.get(place, NOTHING)
                terms[place] = Surd(before.a + product.a, before.b + product.b)
        return self.field.made(terms)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Exponentials:
        """Return the quotient by c e^x; ZeroDivisionError by 0, InexpressibleError by a sum of several."""
        right = self.field.number(other)
        if not right.terms:
            raise ZeroDivisionError("a sum of exponentials divided by zero")
        if len(right.terms) > 1:
            raise InexpressibleError("a quotient by a sum of exponentials")
        ((x, c),) = right.terms.items()
        inverse = self.field.inverse(c)
        return self * Exponentials(self.field, {Surd(-x.a, -x.b): inverse})

    def __rtruediv__(self, other: Any) -> Exponentials:
        return self.field.number(other) / self

    def __pow__(self, exponent: int) -> Exponentials:
        power, square = self.field.whole(1), self
        while exponent:
            if exponent & 1:
                power = power * square
            exponent >>= 1
            square = square * square if exponent else square
        return power

    @property
    def algebraic(self) -> Surd:
        """The number itself where it is one of Q(sqrt r); InexpressibleError if it has an exponential."""
        if not self.terms:
            return NOTHING
        if list(self.terms) != [NOTHING]:
            raise InexpressibleError("an exponential where a number of Q(sqrt r) is needed")
        return self.terms[NOTHING]


class Vector(Sequence[Exponentials]):
    """float64 numbers as sums of exponentials, made when they are asked for; beside them integers, for products.

    numbers[i] = integers[i] / 2**bits.
    """

    def __init__(self, field: ExponentialField, numbers: Sequence[float]) -> None:
        self.field, self.numbers = field, numbers
        ratios = [x.as_integer_ratio() for x in numbers]
        self.bits = max((q.bit_length() for _, q in ratios), default=1) - 1
        self.integers = [(p << self.bits) // q for p, q in ratios]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: Any) -> Any:
        return self._made[place]

    @cached_property
    def _made(self) -> list[Exponentials]:
        return [self.field.exact(x) for x in self.numbers]


class ExponentialField:
    """Exact sums of exponentials, for formulas that add, multiply, and take exponentials of algebraic numbers.

    r is the first number whose root is asked for and that is no square.
    """

    def __init__(self) -> None:
        self.radicand: mpq | None = None

    def made(self, terms: dict[Surd, Surd]) -> Exponentials:
        """Return a number without the coefficients that have become 0."""
        return Exponentials(self, {x: c for x, c in terms.items() if c != NOTHING})

    def number(self, x: Any) -> Exponentials:
        """Return a number of this field, or a whole or rational one as such."""
        return x if isinstance(x, Exponentials) else self.ratio(x)

    def rational(self, x: mpq) -> Exponentials:
        """Return a rational number."""
        return self.made({NOTHING: Surd(x, _ZERO)})

    def whole(self, x: int) -> Exponentials:
        """Return an integer."""
        return self.rational(mpq(x))

    def ratio(self, x: Fraction | int) -> Exponentials:
        """Return a rational number; TypeError for a float, which hides what was meant."""
        if isinstance(x, float):
            raise TypeError(f"{x!r}, a float, in a formula")
        exact = Fraction(x)
        return self.rational(mpq(exact.numerator, exact.denominator))

    def exact(self, x: float) -> Exponentials:
        """Return a float64 number."""
        return self.rational(mpq(*x.as_integer_ratio()))

    def times(self, one: Surd, other: Surd) -> Surd:
        """Return a product in Q(sqrt r)."""
        if not one.b and not other.b:
            return Surd(one.a * other.a, _ZERO)
        assert self.radicand is not None, "roots come with what they are taken of"
        return Surd(one.a * other.a + one.b * other.b * self.radicand, one.a * other.b + one.b * other.a)

    def inverse(self, x: Surd) -> Surd:
        """Return 1 / (a + b sqrt r) = (a - b sqrt r) / (a^2 - b^2 r)."""
        norm = x.a * x.a - (x.b * x.b * self.radicand if self.radicand is not None else _ZERO)
        return Surd(x.a / norm, -x.b / norm)

    def exp(self, x: Any) -> Exponentials:
        """Return e to the power of an algebraic number."""
        return Exponentials(self, {self.number(x).algebraic: UNIT})

    def sqrt(self, x: Any) -> Exponentials:
        """Return the root of a rational number, a square or r times one."""
        given = self.number(x).algebraic
        if given.b or given.a < 0:
            raise InexpressibleError("a root of a number that is not rational, or below 0")
        root = _root(given.a)
        if root is not None:
            return self.rational(root)
        self.radicand = given.a if self.radicand is None else self.radicand
        root = _root(given.a / self.radicand)
        if root is None:
            raise InexpressibleError("roots of several numbers")
        return Exponentials(self, {NOTHING: Surd(_ZERO, root)})

    def tanh(self, x: Any) -> Exponentials:
        """Return 0 for 0; the hyperbolic tangent of anything else is a quotient of sums."""
        if self.number(x).terms:
            raise InexpressibleError("a hyperbolic tangent")
        return self.whole(0)

    def positive(self, x: Any) -> Exponentials:
        """Return the larger of an algebraic number and 0."""
        number = self.number(x)
        return number if self._sign(number.algebraic) > 0 else self.whole(0)

    def _sign(self, x: Surd) -> int:
        """Return the sign of a + b sqrt r: of a or of b, whichever has the larger square, or of both."""
        a, b = (int(part > 0) - int(part < 0) for part in x)
        if a * b >= 0 or self.radicand is None:
            return a or b
        return a if x.a * x.a > x.b * x.b * self.radicand else b

    def sum(self, terms: Sequence[Any]) -> Exponentials:
        """Return the sum."""
        return reduce(add, map(self.number, terms), self.whole(0))

    def dot(self, one: Sequence[Any], other: Sequence[Any]) -> Exponentials:
        """Return the sum of the products, in integers where they are given numbers."""
        if isinstance(one, Vector) and isinstance(other, Vector):
            total = sum(map(mul, one.integers, other.integers))
            return self.rational(mpq(total, 1 << one.bits + other.bits))
        return self.sum([a * b for a, b in zip(one, other, strict=True)])

    def largest(self, numbers: Sequence[Any]) -> Exponentials:
        """Return 0: exact sums neither overflow nor cancel, so that there is nothing to be taken from all of them."""
        return self.whole(0)

    def scale(self, scale: float | None, head_size: int) -> Exponentials:
        """Return the scale, or 1 / sqrt(d_k)."""
        return self.whole(1) / self.sqrt(self.whole(head_size)) if scale is None else self.exact(scale)


def _root(x: mpq) -> mpq | None:
    """Return the root of a rational number of at least 0 if that is rational."""
    parts = int(x.numerator), int(x.denominator)
    roots = [isqrt(part) for part in parts]
    return mpq(*roots) if all(root * root == part for root, part in zip(roots, parts, strict=True)) else None
