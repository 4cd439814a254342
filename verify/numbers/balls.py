"""Balls as plain numbers: what an array of enclosures is kept as, and what travels between processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import sub
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.precision import MAX_BITS, flint_precision


@dataclass(frozen=True, eq=False)
class Balls:
    """An array of balls [c +- r]: c = mantissa 2**exponent and r = radius_mantissa 2**radius_exponent, all exact.

    mantissa: object array of int.  exponent, radius_exponent: int64, of at least -2**40.  radius_mantissa: float64, at
    least 1/2 and below 1, or zero.  The rest is the same as float64, NaN where there is no value:

    value: nearest to c; infinite if c lies beyond float64.  residual: nearest to c - value, or 0 where that is
    infinite; value + residual hold c to 106 bits where neither is subnormal.  radius: r, rounded up.

    Balls of flint neither pickle nor pack; these do both.
    """

    mantissa: NDArray[Any]
    exponent: NDArray[np.int64]
    radius_mantissa: Float64Array
    radius_exponent: NDArray[np.int64]
    value: Float64Array
    residual: Float64Array
    radius: Float64Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Balls:
        """Return an array of exact zeros."""
        kinds = (object, np.int64, np.float64, np.int64, np.float64, np.float64, np.float64)
        return cls(*(np.zeros(shape, dtype=kind) for kind in kinds))

    @classmethod
    def of(cls, arbs: NDArray[Any]) -> Balls:
        """Return the same balls as numbers; what is not finite has no value."""
        # one call for each element and step: map is the fastest way to make them
        defined = np.fromiter(map(arb.is_finite, arbs.flat), np.bool_, arbs.size)
        balls = arbs.ravel()
        if not defined.all():
            balls = np.array([ball if ball.is_finite() else arb(0) for ball in balls], dtype=object)
        centres = list(map(arb.mid, balls))
        integers = list(map(arb.man_exp, centres))
        small = [i for i, (_, shift) in enumerate(integers) if shift < _LEAST_EXPONENT]
        if small:
            balls = np.array(balls, dtype=object)
            balls[small] = [_around_zero(balls[i]) for i in small]
            centres = list(map(arb.mid, balls))
            integers = list(map(arb.man_exp, centres))
        mantissa = np.empty(len(balls), dtype=object)
        mantissa[:] = [int(mantissa) for mantissa, _ in integers]
        exponent = np.array([int(exponent) for _, exponent in integers], dtype=np.int64)
        value = np.fromiter(map(float, centres), np.float64, len(balls))
        subtracted = np.where(np.isfinite(value), value, 0.0).tolist()
        with flint_precision(MAX_BITS):  # the difference is exact: it has no bit that the centre has not
            residual = np.fromiter(map(float, map(sub, centres, subtracted)), np.float64, len(balls))
        residual[~np.isfinite(value)] = 0.0
        radii = list(map(arb.rad, balls))  # of 30 bits: exact as float64 unless tiny
        radius = np.fromiter(map(float, radii), np.float64, len(balls))
        radius_mantissa, exponents = np.frexp(radius)
        radius_exponent = exponents.astype(np.int64)
        for i in np.flatnonzero(~((radius > _TINY) & np.isfinite(radius))).tolist():
            if not radii[i].is_zero():
                bits, shift = (int(x) for x in radii[i].man_exp())
                radius_mantissa[i], extra = math.frexp(bits)
                radius_exponent[i] = max(shift + extra, _LEAST_EXPONENT)  # rounded up
                radius[i] = math.nextafter(radius[i], math.inf)
        columns: tuple[NDArray[Any], ...] = (
            mantissa,
            exponent,
            radius_mantissa,
            radius_exponent,
            *(np.where(defined, column, np.nan) for column in (value, residual, radius)),
        )
        return cls(*(column.reshape(arbs.shape) for column in columns))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.mantissa.shape

    @property
    def defined(self) -> BoolArray:
        """Where there is a value."""
        return np.asarray(~np.isnan(self.value))

    def put(self, place: Any, balls: Balls) -> None:
        """Put other balls in place of some."""
        for name, column in vars(balls).items():
            getattr(self, name)[place] = column

    def ball(self, place: tuple[int, ...]) -> arb:
        """Return one ball as flint's type, whatever its working precision is; NaN where there is no value.

        The radius is rounded up, as flint does, by at most 2**-29 of itself.
        """
        if math.isnan(self.value[place]):
            return arb.nan()
        centre = arb((self.mantissa[place], int(self.exponent[place])))
        radius = int(self.radius_mantissa[place] * 2.0**_RADIUS_BITS)
        if not radius:
            return centre
        return arb(centre, (radius, int(self.radius_exponent[place]) - _RADIUS_BITS))

    def arbs(self) -> NDArray[Any]:
        """Return all balls as flint's type, in an object array."""
        arbs = np.empty(self.shape, dtype=object)
        for place in np.ndindex(self.shape):
            arbs[place] = self.ball(place)
        return arbs


def in_base_two(balls: Balls) -> Balls:
    """Return natural logarithms as logarithms to base 2."""
    arbs = balls.arbs()
    longest = max((abs(m).bit_length() for m in balls.mantissa.flat), default=1)
    with flint_precision(min(MAX_BITS, longest + 64)):
        two = arb(2).log()
        return Balls.of(np.array([ball / two for ball in arbs.flat], dtype=object).reshape(arbs.shape))


def _around_zero(ball: arb) -> arb:
    """Return a ball around 0 that holds another one, and numbers up to the smallest that is held."""
    with flint_precision(_RADIUS_BITS):
        return arb(0, abs(ball).upper().max(arb((1, _LEAST_EXPONENT))))


_RADIUS_BITS = 30  # of flint's radii

# Numbers below 2**this are held as 0, and radii as at least this: exponents of flint have no end, and these have.
_LEAST_EXPONENT = -(1 << 40)

_TINY = 2.0**-1000  # above it, a number of 30 bits is a float64
