"""A formula in an arithmetic: numbers, or arrays of them, that are rounded after every operation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.operands import scale_of
from verify.numbers.arithmetic import Arithmetic


class Rounded:
    """An array of numbers of one of an arithmetic's formats; every operation is rounded to it."""

    __slots__ = ("array", "field")
    __array_ufunc__ = None  # numpy leaves mixed operations to this class

    def __init__(self, array: NDArray[Any], field: RoundedField) -> None:
        self.array = array
        self.field = field

    def __add__(self, other: Any) -> Rounded:
        return self.field.settled(self.array + self.field.plain(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Rounded:
        return self.field.settled(self.array - self.field.plain(other))

    def __rsub__(self, other: Any) -> Rounded:
        return self.field.settled(self.field.plain(other) - self.array)

    def __mul__(self, other: Any) -> Rounded:
        return self.field.settled(self.array * self.field.plain(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Rounded:
        return self.field.settled(self.array / self.field.plain(other))

    def __rtruediv__(self, other: Any) -> Rounded:
        return self.field.settled(self.field.plain(other) / self.array)

    def __neg__(self) -> Rounded:
        return Rounded(-self.array, self.field)

    def __pow__(self, exponent: int) -> Rounded | int:
        """Return a whole power by repeated multiplication, each rounded."""
        return reduce(lambda one, other: one * other, [self] * exponent) if exponent else 1


class RoundedField:
    """The field of an arithmetic's factors, or of its sums."""

    def __init__(self, arithmetic: Arithmetic, kind: str) -> None:
        """Take the format that `kind` names: "factors" or "sums"."""
        self.arithmetic = arithmetic
        factors = kind == "factors"
        self._settle = arithmetic.as_factor if factors else arithmetic.as_sum
        self._constant = arithmetic.as_factor_constant if factors else arithmetic.as_sum_constant

    def settled(self, values: Any) -> Rounded:
        """Return results of the carrier rounded to the format."""
        return Rounded(np.asarray(self._settle(np.asarray(values))), self)

    def number(self, array: NDArray[Any]) -> Rounded:
        """Return numbers that are of the format already."""
        return Rounded(array, self)

    def plain(self, x: Any) -> Any:
        """Return the array of a number of this field, or a constant in its format."""
        return x.array if isinstance(x, Rounded) else self._constant(float(x))

    def array(self, x: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a number of this field, or a constant, as an array of that shape."""
        return np.array(np.broadcast_to(self.plain(x), shape))

    def exact(self, x: float) -> Rounded:
        """Return a float64 number, rounded once."""
        return Rounded(np.asarray(self.plain(x)), self)

    def ratio(self, x: Fraction | int) -> Rounded:
        """Return a rational number, rounded to float64 and then to the format."""
        return self.exact(float(x))

    def exp(self, x: Rounded) -> Rounded:
        """Return e to the power x by the carrier's library, rounded."""
        return self.settled(np.exp(x.array))

    def sqrt(self, x: Rounded) -> Rounded:
        """Return the square root, rounded."""
        return self.settled(np.sqrt(x.array))

    def tanh(self, x: Rounded) -> Rounded:
        """Return the hyperbolic tangent by the carrier's library, rounded."""
        return self.settled(np.tanh(x.array))

    def positive(self, x: Rounded) -> Rounded:
        """Return the larger of x and 0."""
        zero = self.arithmetic.as_input(np.zeros(()))  # of the carrier's kind, whatever is done with it next
        return Rounded(np.asarray(np.maximum(x.array, zero)), self)

    def sum(self, terms: Sequence[Any]) -> Any:
        """Return the sum, term by term."""
        return reduce(add, terms) if terms else self.exact(0.0)

    def dot(self, one: Sequence[Any], other: Sequence[Any]) -> Any:
        """Return the sum of the products, term by term."""
        return self.sum([a * b for a, b in zip(one, other, strict=True)])

    def largest(self, numbers: Sequence[Any]) -> Rounded:
        """Return the largest, place by place."""
        return Rounded(np.asarray(reduce(np.maximum, [self.plain(x) for x in numbers])), self)

    def scale(self, scale: float | None, head_size: int) -> Rounded:
        """Return the scale of the logits as any implementation has it."""
        return self.settled(np.asarray(scale_of(scale, head_size, self.arithmetic)))
