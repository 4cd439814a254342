"""Where an error comes from: formula, rounding and quantisation, which add up to the total.

    computed - softmax = (own - softmax) + (own on rounded inputs - own) + (computed - own on rounded inputs)

own: the exact value of the member.  The first part is the error of the formula, which the mechanism has a name for
(truncation, deviation), and nothing for softmax itself; the second is quantisation, the third rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import CertificationError, MechanismError
from verify.measure.metrics import computed_error, magnitudes, root_mean_square
from verify.mechanisms.registry import baseline
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import Reference, difference, reference, references

# Enough that value + residual are exact to their last bit (106 bits are 31.9 digits).
DIGITS = 33

# Differences of exact values are asked for more digits until their radius is this small a part of them, by root mean
# square, but not beyond this many digits: what is smaller than 10**-120 of the values is as good as nothing.
RESOLVED = 2.0**-30
MOST_DIGITS = 4 * DIGITS


class Truths:
    """The exact values of one problem, each found when first asked for; members that share work in one pass."""

    def __init__(self, problem: Problem, members: Iterable[Member] = ()) -> None:
        """Take the members that will be asked for: those of one mechanism are found together."""
        self.problem = problem
        self.members = list(dict.fromkeys(members))
        self._found: dict[Member, Reference | CertificationError | MechanismError] = {}

    def of(self, member: Member) -> Reference:
        """Return the exact value of a member; CertificationError or MechanismError, each time, where there is none."""
        if member not in self._found:
            self._find(member)
        found = self._found[member]
        if isinstance(found, CertificationError | MechanismError):
            raise found
        return found

    def of_softmax(self) -> Reference:
        """Return the exact value of softmax attention."""
        return self.of(baseline().member)

    def _find(self, member: Member) -> None:
        together = [other for other in self.members if other.mechanism == member.mechanism]
        try:
            if len(together) > 1 and member in together:
                self._found.update(references(self.problem, together, DIGITS))
                return
        except (CertificationError, MechanismError):
            pass  # one of them is at fault, perhaps not this one
        try:
            self._found[member] = reference(self.problem, DIGITS, member)
        except (CertificationError, MechanismError) as error:
            self._found[member] = error


_Which = tuple[Truths, Member]  # the exact value of a member on a problem


def exact_gap(one: _Which, other: _Which) -> tuple[Float64Array, Float64Array]:
    """Return one - other, right to 30 bits by root mean square, and how far off each element may be.

    An element that its radius allows to be 0 is 0.
    """
    digits = DIGITS
    pair = [truths.of(member) for truths, member in (one, other)]
    while True:
        value, radius = difference(*pair)
        defined = np.isfinite(value)
        size, doubt = (root_mean_square(np.abs(array[defined])) for array in (value, radius))
        if doubt <= RESOLVED * size:
            return np.where(np.abs(value) <= radius, 0.0, value), radius
        digits *= 2
        if digits > MOST_DIGITS:
            return np.where(np.isfinite(value), 0.0, value), radius
        pair = [reference(truths.problem, digits, member) for truths, member in (one, other)]


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

    parts: "total", "rounding", "quantisation" and, except for softmax itself, "formula".
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
        return parts | ({"formula": own - softmax} if "formula" in self.parts else {})

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
        self._gaps: dict[Member, dict[str, Gap]] = {}

    def gaps(self, member: Member) -> dict[str, Gap]:
        """Return the parts that are differences of exact values, each with its doubt."""
        if member not in self._gaps:
            exact, parts = (self.truths, member), {}
            if member.mechanism.formula_error is not None:
                parts["formula"] = exact_gap(exact, (self.truths, baseline().member))
            if self.rounded is self.truths:
                nothing = np.zeros(self.truths.problem.output_shape)
                parts["quantisation"] = nothing, nothing
            else:
                parts["quantisation"] = exact_gap((self.rounded, member), exact)
            self._gaps[member] = parts
        return self._gaps[member]

    def of(self, computed: NDArray[Any], member: Member) -> Decomposition:
        """Return the parts of the error of an output computed with a member, [..., H, n_q, d_v]."""
        found = computed.astype(np.float64)
        softmax = self.truths.of_softmax()
        own, rounded_own = self.truths.of(member), self.rounded.of(member)
        gaps = self.gaps(member)
        parts = {
            "rounding": Part(computed_error(found, rounded_own), found, rounded_own.value, rounded_own.radius),
            "quantisation": _part(gaps["quantisation"], rounded_own.value, own.value),
            "total": Part(computed_error(found, softmax), found, softmax.value, softmax.radius),
        }
        if "formula" in gaps:
            parts["formula"] = _part(gaps["formula"], own.value, softmax.value)
        return Decomposition(found, softmax, own, rounded_own, parts)


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
