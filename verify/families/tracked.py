"""A formula with a running account of its rounding: numbers in float64, and how far off a computed one may be.

For an exact number x of the formula, |value - x| <= doubt, and what an arithmetic computes for it is within error of x.
Every operation passes both on and adds its own rounding (N. J. Higham, Accuracy and Stability of Numerical Algorithms,
2nd edition, section 3.3: running error analysis).  Any formula over a field thus has a bound on its rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from math import inf
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
    def most(self) -> Any:
        """A bound on |x|."""
        return abs(self.value) + self.doubt

    def __add__(self, other: Any) -> Tracked:
        right = self.field.tracked(other)
        unsigned = self.unsigned and right.unsigned
        doubt, error = self.doubt + right.doubt, self.error + right.error
        return self.field.settled(self.value + right.value, doubt, error, unsigned=unsigned)

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
        x, y = self.most, right.most

        def off(of_x: Any, of_y: Any) -> Any:
            return x * of_y + y * of_x + of_x * of_y

        return self.field.settled(
            self.value * right.value,
            off(self.doubt, right.doubt),
            off(self.error, right.error),
            unsigned=right is self or (self.unsigned and right.unsigned),
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tracked:
        """|x'/y' - x/y| <= (e_x + |x/y| e_y) / (|y| - e_y), infinite where y' may be zero."""
        right = self.field.tracked(other)
        least = np.abs(right.value) - right.doubt
        share = self.most / np.maximum(least, 0.0)

        def off(of_x: Any, of_y: Any) -> Any:
            left = least - of_y
            return np.where(left > 0, (of_x + share * of_y) / np.where(left > 0, left, 1.0), np.inf)[()]

        return self.field.settled(
            self.value / right.value,
            off(self.doubt, right.doubt),
            off(self.error, right.error),
            unsigned=self.unsigned and right.unsigned,
        )

    def __rtruediv__(self, other: Any) -> Tracked:
        return self.field.tracked(other) / self

    def __pow__(self, exponent: int) -> Tracked | int:
        """Return a whole power by repeated multiplication; signs are never rounded, so that even ones have none."""
        if not exponent:
            return 1
        power = reduce(lambda one, other: one * other, [self] * exponent)
        return Tracked(power.value, power.error, power.doubt, self.field, power.unsigned or exponent % 2 == 0)


class TrackedField:
    """Numbers of a format with unit roundoff `unit`, worked out in a carrier with another, beside float64."""

    def __init__(self, format_: Format, carrier: float) -> None:
        self.format = format_
        self.unit = 2.0**-format_.precision
        # exp of the library is off by so many roundings of the carrier, and rounded to the format if that is narrower
        self.library = LIBRARY * carrier + (self.unit if self.unit > carrier else 0.0)
        self._steps = tuple(
            (_step(double, _FLOAT64), _step(unit, format_))
            for double, unit in ((2.0**-53, self.unit), (LIBRARY * 2.0**-53, self.library))
        )
        self._constants: dict[Fraction | float, Tracked] = {}

    def settled(self, value: Any, doubt: Any, error: Any, *, library: bool = False, unsigned: bool = False) -> Tracked:
        """Return a result that is off by what its operands were, and by its own rounding in either format."""
        (part, tiny), (own_part, own_tiny) = self._steps[library]
        if isinstance(value, float) and isinstance(doubt, float) and isinstance(error, float):
            # the same as below with Python's own numbers, which take a tenth of the time
            size, doubt, error = abs(float(value)), float(doubt), float(error)
            doubt += part * (size + doubt) + tiny
            size += doubt
            error += own_part * (size + error) + own_tiny
            within = size + error <= self.format.largest
            return Tracked(value, error if within else inf, doubt if doubt == doubt else inf, self, unsigned)
        with np.errstate(all="ignore"):
            size = np.abs(value)
            doubt = np.fmin(doubt + part * (size + doubt) + tiny, np.inf)
            size = size + doubt
            error = error + own_part * (size + error) + own_tiny
            error = np.where(size + error <= self.format.largest, error, np.inf)
        return Tracked(value, error, doubt, self, unsigned)

    def number(self, value: Float64Array, error: Any = 0.0, doubt: Any = 0.0) -> Tracked:
        """Return numbers that are off by so much."""
        return Tracked(value, error, doubt, self)

    def tracked(self, x: Any) -> Tracked:
        """Return a constant as a number of this field: rounded once, unless the format holds it."""
        return x if isinstance(x, Tracked) else self.ratio(x)

    def _constant(self, x: Fraction | float) -> Tracked:
        value = float(x)
        doubt = 0.0 if isinstance(x, float) or Fraction(value) == x else abs(value) * 2.0**-53 + _FLOAT64.smallest
        error = 0.0 if not doubt and self.format.holds(value) else 2 * abs(value) * self.unit + self.format.smallest
        error = error if abs(value) <= self.format.largest else inf
        return self._constants.setdefault(x, Tracked(np.float64(value), error, doubt, self, value >= 0))

    def exact(self, x: float) -> Tracked:
        """Return a float64 number, rounded once to the format."""
        return self.ratio(float(x))

    def ratio(self, x: Fraction | float) -> Tracked:
        """Return a rational number, rounded to the format."""
        return self._constants.get(x) or self._constant(x)

    def exp(self, x: Tracked) -> Tracked:
        """|exp(x') - exp(x)| <= exp(x) expm1(e), and the library's exp rounds up to LIBRARY times."""
        value = np.exp(x.value)
        largest = value * np.exp(x.doubt)
        doubt, error = (largest * np.expm1(e) for e in (x.doubt, x.error))
        return self.settled(value, doubt, error, library=True, unsigned=True)

    def sqrt(self, x: Tracked) -> Tracked:
        """|sqrt(x') - sqrt(x)| <= e / (sqrt(x) + sqrt(x - e)), and sqrt(e) where x - e is below 0.

        Infinite there, unless x' is sure not to be negative: it may have no root.
        """
        value = np.sqrt(x.value)

        def off(e: Any) -> Any:
            least = x.value - x.doubt
            low = least - e
            roots = np.sqrt(np.maximum(least, 0.0)) + np.sqrt(np.maximum(low, 0.0))
            near = np.sqrt(e) if x.unsigned else np.inf
            return np.where(e == 0, 0.0, np.where(low >= 0, e / np.where(roots > 0, roots, 1.0), near))[()]

        return self.settled(value, off(x.doubt), off(x.error), unsigned=True)

    def tanh(self, x: Tracked) -> Tracked:
        """|tanh(x') - tanh(x)| <= |x' - x|, and never more than 2; the library's tanh rounds up to LIBRARY times."""
        value = np.tanh(x.value)
        doubt, error = (np.minimum(e, 2.0) for e in (x.doubt, x.error))
        return self.settled(value, doubt, error, library=True, unsigned=x.unsigned)

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


def _step(unit: float, format_: Format) -> tuple[float, float]:
    """Return what a rounding does: to the part of a result that this is, and among the numbers near 0.

    There it is half the smallest of them, as many times as there are units of the format.
    """
    return unit / (1.0 - unit), max(1.0, unit * 2.0**format_.precision / 2) * format_.smallest


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
