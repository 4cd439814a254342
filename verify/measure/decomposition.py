"""Where an error comes from: truncation or deviation, rounding and quantisation, which add up to the total.

    computed - softmax = (own - softmax) + (own on rounded inputs - own) + (computed - own on rounded inputs)

own: the exact value of the mechanism and order.  The first part is truncation for Taylor attention, deviation for
log-exp and nothing for softmax itself; the second is quantisation, the third rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CertificationError
from verify.measure.metrics import computed_error, magnitudes, root_mean_square
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import Reference, difference, reference, taylor_references
from verify.truth.mechanisms import undefined_mechanism

# Enough that value + residual are exact to their last bit (106 bits are 31.9 digits).
DIGITS = 33

# Differences of exact values are asked for more digits until their radius is this small a part of them, by root mean
# square, but not beyond this many digits: what is smaller than 10**-120 of the values is as good as nothing.
RESOLVED = 2.0**-30
MOST_DIGITS = 4 * DIGITS

# What the first part is called.
FORMULA_PART = {"softmax": None, "taylor": "truncation", "logexp": "deviation"}


class Truths:
    """The exact values of one problem, each found when first asked for; Taylor in one pass over all orders."""

    def __init__(self, problem: Problem, orders: Sequence[int]) -> None:
        self.problem = problem
        self.orders = orders
        self._found: dict[tuple[str, int | None], Reference | CertificationError] = {}

    def of(self, mechanism: str, order: int | None = None) -> Reference:
        """Return the exact value of a mechanism; CertificationError, each time, where there is none."""
        if (mechanism, order) not in self._found:
            self._find(mechanism, order)
        found = self._found[mechanism, order]
        if isinstance(found, CertificationError):
            raise found
        return found

    def _find(self, mechanism: str, order: int | None) -> None:
        try:
            if order in self.orders:
                every = taylor_references(self.problem, self.orders, DIGITS)
                self._found.update({(mechanism, p): exact for p, exact in every.items()})
                return
        except CertificationError:
            pass  # one of the orders is at fault, perhaps not this one
        try:
            self._found[mechanism, order] = reference(self.problem, DIGITS, mechanism, order)
        except CertificationError as error:
            self._found[mechanism, order] = error


_Which = tuple[Truths, str, int | None]  # the exact value of a mechanism, at an order, on a problem


def exact_gap(one: _Which, other: _Which) -> tuple[Float64Array, Float64Array]:
    """Return one - other, right to 30 bits by root mean square, and how far off each element may be.

    An element that its radius allows to be 0 is 0.
    """
    digits = DIGITS
    pair = [truths.of(mechanism, order) for truths, mechanism, order in (one, other)]
    while True:
        value, radius = difference(*pair)
        defined = np.isfinite(value)
        size, doubt = (root_mean_square(np.abs(array[defined])) for array in (value, radius))
        if doubt <= RESOLVED * size:
            return np.where(np.abs(value) <= radius, 0.0, value), radius
        digits *= 2
        if digits > MOST_DIGITS:
            return np.where(np.isfinite(value), 0.0, value), radius
        pair = [reference(truths.problem, digits, mechanism, order) for truths, mechanism, order in (one, other)]


# A difference of exact values, and how far off it may be.
Gap = tuple[Float64Array, Float64Array]


@dataclass(frozen=True, eq=False)
class Part:
    """One part of an error, and the two float64 values it lies between: error = found - origin, to its own accuracy.

    doubt: how far off the error may be, element by element.
    """

    error: Float64Array
    found: Float64Array
    origin: Float64Array
    doubt: Float64Array

    @property
    def least(self) -> Float64Array:
        """The smallest |error| that the doubt allows; infinite where it is not a number."""
        with np.errstate(invalid="ignore"):
            size = magnitudes(self.error) - np.where(np.isfinite(self.doubt), self.doubt, 0.0)
        return np.maximum(size, 0.0)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The parts of the error of one computed output, by name, and what they are differences of.

    parts: "total", "rounding", "quantisation" and, except for softmax itself, "truncation" or "deviation".
    """

    computed: NDArray[Any]
    softmax: Reference
    own: Reference
    rounded_own: Reference
    parts: Mapping[str, Part]

    def exactly(self) -> dict[str, NDArray[Any]]:
        """Return the same parts as exact rationals, between the centres of the balls; None where there is no value."""
        computed, softmax, own, rounded = (_fractions(x) for x in (self.computed, *self.references))
        parts = {"rounding": computed - rounded, "quantisation": rounded - own, "total": computed - softmax}
        return parts | {name: own - softmax for name in self.parts if name in FORMULA_PART.values()}

    @property
    def references(self) -> tuple[Reference, Reference, Reference]:
        """The exact values: of softmax, of the mechanism, and of that on rounded inputs."""
        return self.softmax, self.own, self.rounded_own


class Decomposer:
    """Decomposes outputs computed on one problem in one arithmetic; what they have in common is worked out once.

    truths: of the problem as it is.  rounded: of the problem as the arithmetic's inputs hold it, perhaps the same.
    """

    def __init__(self, truths: Truths, rounded: Truths) -> None:
        self.truths, self.rounded = truths, rounded
        self._gaps: dict[tuple[str, int | None], dict[str, Gap]] = {}

    def gaps(self, mechanism: str, order: int | None) -> dict[str, Gap]:
        """Return the parts that are differences of exact values, each with its doubt."""
        if (mechanism, order) not in self._gaps:
            exact, parts = (self.truths, mechanism, order), {}
            if mechanism not in FORMULA_PART:
                raise undefined_mechanism(mechanism, "name for the error of its formula")
            formula = FORMULA_PART[mechanism]
            if formula is not None:
                parts[formula] = exact_gap(exact, (self.truths, "softmax", None))
            if self.rounded is self.truths:
                nothing = np.zeros(self.truths.problem.output_shape)
                parts["quantisation"] = nothing, nothing
            else:
                parts["quantisation"] = exact_gap((self.rounded, mechanism, order), exact)
            self._gaps[mechanism, order] = parts
        return self._gaps[mechanism, order]

    def of(self, computed: NDArray[Any], mechanism: str, order: int | None) -> Decomposition:
        """Return the parts of the error of an output computed with a mechanism, [..., H, n_q, d_v]."""
        found = computed.astype(np.float64)
        softmax = self.truths.of("softmax")
        own, rounded_own = self.truths.of(mechanism, order), self.rounded.of(mechanism, order)
        gaps = self.gaps(mechanism, order)
        parts = {
            "rounding": Part(computed_error(found, rounded_own), found, rounded_own.value, rounded_own.radius),
            "quantisation": _part(gaps["quantisation"], rounded_own.value, own.value),
            "total": Part(computed_error(found, softmax), found, softmax.value, softmax.radius),
        }
        formula = {name: _part(gap, own.value, softmax.value) for name, gap in gaps.items() if name != "quantisation"}
        return Decomposition(found, softmax, own, rounded_own, parts | formula)


def _part(gap: Gap, found: Float64Array, origin: Float64Array) -> Part:
    return Part(gap[0], found, origin, gap[1])


def _fractions(values: NDArray[Any] | Reference) -> NDArray[Any]:
    """Return float64 numbers, or the centres of balls, as rationals; NaN where there is no value."""
    if not isinstance(values, Reference):
        flat = [Fraction(x) if np.isfinite(x) else np.nan for x in values.ravel().tolist()]
        shape = values.shape
    else:
        balls = values.balls
        numbers = zip(balls.mantissa.flat, balls.exponent.flat, balls.defined.flat, strict=True)
        flat = [Fraction(m) * Fraction(2) ** int(e) if defined else np.nan for m, e, defined in numbers]
        shape = balls.shape
    found = np.empty(len(flat), dtype=object)
    found[:] = flat
    return found.reshape(shape)
