"""A formula with a running account of its rounding: numbers in float64, and how far off a computed one may be.

For an exact number x of the formula, |value - x| <= doubt, and what an arithmetic computes for it is within error of x.
Every operation passes both on and adds its own rounding (N. J. Higham, Accuracy and Stability of Numerical Algorithms,
2nd edition, section 3.3: running error analysis).  Any formula over a field thus has a bound on its rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.bounds.pairs import Pairs, WeightBound
from verify.numbers.arithmetic import LIBRARY
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import FORMATS, Format

_FLOAT64 = FORMATS["float64"]


class Tracked:
    """float64 numbers, and bounds on how far off they are from the exact ones, and how far off computed ones are.

    unsigned: whether it is sure that none is below zero, whatever rounding does to it, as no square or exponential is.
    """

    __slots__ = ("doubt", "error", "field", "unsigned", "value")
    __array_ufunc__ = None  # numpy leaves mixed operations to this class

    def __init__(self, value: Any, error: Any, doubt: Any, field: TrackedField, unsigned: bool = False) -> None:
        self.value, self.error, self.doubt, self.field, self.unsigned = value, error, doubt, field, unsigned

    @property
    def most(self) -> Float64Array:
        """A bound on |x|."""
        return np.asarray(np.abs(self.value) + self.doubt)

    def __add__(self, other: Any) -> Tracked:
        right = self.field.tracked(other)
        unsigned = self.unsigned and right.unsigned
        return self.field.settled(self.value + right.value, lambda part: part(self) + part(right), unsigned=unsigned)

    __radd__ = __add__

    def __neg__(self) -> Tracked:
        return Tracked(-self.value, self.error, self.doubt, self.field)

    def __sub__(self, other: Any) -> Tracked:
        return self + -self.field.tracked(other)

    def __rsub__(self, other: Any) -> Tracked:
        return self.field.tracked(other) + -self

    def __mul__(self, other: Any) -> Tracked:
        """|x'y' - xy| <= |x| e_y + |y| e_x + e_x e_y."""
        right = self.field.tracked(other)
        return self.field.settled(
            self.value * right.value,
            lambda part: self.most * part(right) + right.most * part(self) + part(self) * part(right),
            unsigned=right is self or (self.unsigned and right.unsigned),
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tracked:
        """|x'/y' - x/y| <= (e_x + |x/y| e_y) / (|y| - e_y), infinite where y' may be zero."""
        right = self.field.tracked(other)
        least = np.abs(right.value) - right.doubt
        share = self.most / np.maximum(least, 0.0)

        def off(part: Part) -> Float64Array:
            left = least - part(right)
            return np.where(left > 0, (part(self) + share * part(right)) / np.where(left > 0, left, 1.0), np.inf)

        return self.field.settled(self.value / right.value, off, unsigned=self.unsigned and right.unsigned)

    def __rtruediv__(self, other: Any) -> Tracked:
        return self.field.tracked(other) / self

    def __pow__(self, exponent: int) -> Tracked | int:
        """Return a whole power by repeated multiplication; signs are never rounded, so that even ones have none."""
        if not exponent:
            return 1
        power = reduce(lambda one, other: one * other, [self] * exponent)
        return Tracked(power.value, power.error, power.doubt, self.field, power.unsigned or exponent % 2 == 0)


# Which of the two bounds of a number is passed on.
Part = Callable[[Tracked], Any]


class TrackedField:
    """Numbers of a format with unit roundoff `unit`, worked out in a carrier with another, beside float64."""

    def __init__(self, format_: Format, carrier: float) -> None:
        self.format = format_
        self.unit = 2.0**-format_.precision
        # exp of the library is off by so many roundings of the carrier, and rounded to the format if that is narrower
        self.library = LIBRARY * carrier + (self.unit if self.unit > carrier else 0.0)

    def settled(
        self, value: Any, off: Callable[[Part], Any], *, library: bool = False, unsigned: bool = False
    ) -> Tracked:
        """Return a result that is off by what its operands were, and by its own rounding in either format."""
        units = (LIBRARY * 2.0**-53, self.library) if library else (2.0**-53, self.unit)
        doubt = _rounded(np.abs(value), off(lambda x: x.doubt), units[0], _FLOAT64)
        size = np.abs(value) + doubt
        error = _rounded(size, off(lambda x: x.error), units[1], self.format)
        error = np.where(size + error <= self.format.largest, error, np.inf)
        error, doubt = (np.where(np.isnan(x), np.inf, x) for x in (error, doubt))
        return Tracked(value, error, doubt, self, unsigned)

    def number(self, value: Float64Array, error: Any = 0.0, doubt: Any = 0.0) -> Tracked:
        """Return numbers that are off by so much."""
        return Tracked(value, error, doubt, self)

    def tracked(self, x: Any) -> Tracked:
        """Return a constant as a number of this field: rounded once, unless the format holds it."""
        return x if isinstance(x, Tracked) else self._constant(Fraction(x))

    def _constant(self, x: Fraction) -> Tracked:
        value = float(x)
        doubt = 0.0 if Fraction(value) == x else abs(value) * 2.0**-53 + _FLOAT64.smallest
        kept = doubt == 0.0 and float(self.format.rounded(np.asarray(value)).astype(np.float64)) == value
        error = 0.0 if kept else 2 * abs(value) * self.unit + self.format.smallest
        error = error if abs(value) <= self.format.largest else np.inf
        return Tracked(np.float64(value), error, doubt, self, value >= 0)

    def exact(self, x: float) -> Tracked:
        """Return a float64 number, rounded once to the format."""
        return self._constant(Fraction(float(x)))

    def ratio(self, x: Fraction | int) -> Tracked:
        """Return a rational number, rounded to the format."""
        return self._constant(Fraction(x))

    def exp(self, x: Tracked) -> Tracked:
        """|exp(x') - exp(x)| <= exp(x) expm1(e), and the library's exp rounds up to LIBRARY times."""
        value = np.exp(x.value)

        def off(part: Part) -> Any:
            return value * np.exp(x.doubt) * np.expm1(part(x))

        return self.settled(value, off, library=True, unsigned=True)

    def sqrt(self, x: Tracked) -> Tracked:
        """|sqrt(x') - sqrt(x)| <= e / (sqrt(x) + sqrt(x - e)), and sqrt(e) where x - e is below 0.

        Infinite there, unless x' is sure not to be negative: it may have no root.
        """
        value = np.sqrt(x.value)

        def off(part: Part) -> Any:
            e = part(x)
            least = x.value - x.doubt
            low = least - e
            roots = np.sqrt(np.maximum(least, 0.0)) + np.sqrt(np.maximum(low, 0.0))
            near = np.sqrt(e) if x.unsigned else np.inf
            return np.where(e == 0, 0.0, np.where(low >= 0, e / np.where(roots > 0, roots, 1.0), near))

        return self.settled(value, off, unsigned=True)

    def tanh(self, x: Tracked) -> Tracked:
        """|tanh(x') - tanh(x)| <= |x' - x|, and never more than 2; the library's tanh rounds up to LIBRARY times."""
        value = np.tanh(x.value)
        return self.settled(value, lambda part: np.minimum(part(x), 2.0), library=True, unsigned=x.unsigned)

    def positive(self, x: Tracked) -> Tracked:
        """|max(x', 0) - max(x, 0)| <= |x' - x|."""
        return Tracked(np.maximum(x.value, 0.0), x.error, x.doubt, self, True)

    def sum(self, terms: Sequence[Any]) -> Any:
        """Return the sum, term by term."""
        return reduce(add, terms) if terms else self.exact(0.0)

    def dot(self, one: Sequence[Any], other: Sequence[Any]) -> Any:
        """Return the sum of the products, term by term."""
        return self.sum([a * b for a, b in zip(one, other, strict=True)])

    def largest(self, numbers: Sequence[Any]) -> Tracked:
        """Return the largest: it is off by no more than the one that is off most."""
        found = [self.tracked(x) for x in numbers]
        error, doubt = (reduce(np.maximum, [getattr(x, name) for x in found]) for name in ("error", "doubt"))
        return Tracked(reduce(np.maximum, [x.value for x in found]), error, doubt, self)

    def scale(self, scale: float | None, head_size: int) -> Tracked:
        """Return the scale of the logits: given, or by a square root and a division."""
        if scale is not None:
            return self.exact(scale)
        return self.exact(1.0) / self.sqrt(self.exact(float(head_size)))


def _rounded(size: Any, off: Any, unit: float, format_: Format) -> Any:
    """Return how far off a result is after rounding: |x''| <= size + off is rounded by a part `unit` of it.

    Among the numbers near 0, roundings are half the smallest of them, and as many as there are units of the format.
    """
    with np.errstate(all="ignore"):
        near_zero = max(1.0, unit * 2.0**format_.precision / 2) * format_.smallest
        return off + unit / (1.0 - unit) * (size + off) + near_zero


def tracked_weights(pairs: Pairs, weights: Tracked) -> WeightBound:
    """Return the bound of weights that were tracked up to their rounding to factors, and are added up pair by pair."""
    shape = pairs.attended.shape
    value, error, doubt = (np.broadcast_to(x, shape) for x in (weights.value, weights.error, weights.doubt))
    moved = error + doubt
    moved = moved + pairs.narrowed * (np.abs(value) + moved) + pairs.tiny
    size = np.abs(value) + moved
    largest = max(1.0, pairs.largest_attended(size))
    spread = pairs.gamma(max(0, pairs.n - pairs.exact), pairs.s)
    overflows = pairs.overflows(max(1, pairs.n) * largest, sums=pairs.products(), factors=largest)
    return WeightBound(value, moved, size, spread, 0.0, overflows)


def stacked(features: Sequence[Any], count: int, field: TrackedField) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return values and errors of features, each an array of tokens or a constant, as [tokens, m]."""
    found = [field.tracked(x) for x in features]
    value = np.stack([np.broadcast_to(x.value, count) for x in found], axis=-1)
    return value, np.stack([np.broadcast_to(x.error + x.doubt, count) for x in found], axis=-1)
