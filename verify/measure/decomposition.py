"""Where an error comes from: formula, rounding and quantisation, which add up to the total.

    computed - softmax = (own - softmax) + (own on rounded inputs - own) + (computed - own on rounded inputs)

own: the exact value of the member.  The first part is the error of the formula, which the mechanism has a name for
(truncation, deviation), and nothing for softmax itself; the second is quantisation, the third rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import CertificationError, MechanismError
from verify.measure.metrics import computed_error, doubt_of, magnitudes
from verify.measure.tallies import row_sizes
from verify.mechanisms.registry import baseline
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Problem
from verify.problem.rows import block_rows
from verify.problem.selection import of_rows
from verify.truth import MEMORY_LIMIT, Reference, difference, members_at_once, references

# Enough that value + residual are exact to their last bit (106 bits are 31.9 digits).
DIGITS = 33

# Differences of exact values are asked for more digits until their radius is this small a part of them, by root mean
# square, but not beyond this many digits: what is smaller than 10**-120 of the values is as good as nothing.
RESOLVED = 2.0**-30
MOST_DIGITS = 4 * DIGITS

# Up to this part of a block's rows are found again by themselves.
FEW = 1 / 8


class Truths:
    """The exact values of one problem, each found when first asked for; members that share work in one pass.

    As many of these as memory allows: where not all of a mechanism's are kept, the last ones are.
    """

    def __init__(
        self,
        problem: Problem,
        members: Iterable[Member] = (),
        *,
        digits: int = DIGITS,
        memory_limit: int = MEMORY_LIMIT,
        softmax: Reference | None = None,
    ) -> None:
        """Take the members that will be asked for: those of one mechanism are found together.

        softmax: the exact value of softmax attention, if it was found before, with these digits.
        """
        self.problem, self.digits, self.memory_limit = problem, digits, memory_limit
        self.members = list(dict.fromkeys(members))
        self._found: dict[Member, Reference | CertificationError | MechanismError] = {}
        if softmax is not None:
            self._found[baseline().member] = softmax
        self._finer: dict[bytes, Truths] = {}

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

    def finer(self, rows: NDArray[np.int64]) -> Truths:
        """Return exact values of some rows with twice the digits; MOST_DIGITS at most are asked for."""
        key = rows.tobytes()
        if key not in self._finer:
            part = of_rows(self.problem, rows.tolist())
            self._finer[key] = Truths(part, self.members, digits=2 * self.digits, memory_limit=self.memory_limit // 2)
        return self._finer[key]

    def _find(self, member: Member) -> None:
        together = self._together(member)
        try:
            self._found.update(self._references(together))
            return
        except (CertificationError, MechanismError) as error:  # one of them is at fault, perhaps not this one
            self._found[member] = error
        if len(together) > 1:
            try:
                self._found.update(self._references([member]))
            except (CertificationError, MechanismError) as error:
                self._found[member] = error

    def _references(self, members: list[Member]) -> dict[Member, Reference]:
        return references(self.problem, members, self.digits, memory_limit=max(self.memory_limit, MEMORY_LIMIT))

    def _together(self, member: Member) -> list[Member]:
        """Return the members that are found with one; others of its mechanism are forgotten if not all fit."""
        same = [other for other in self.members if other.mechanism == member.mechanism]
        if member not in same:
            return [member]
        most = members_at_once(self.problem, self.digits, self.memory_limit)
        if len(same) <= most:
            return same
        self._found = {other: found for other, found in self._found.items() if other.mechanism != member.mechanism}
        first = same.index(member)
        return same[first : first + most]


_Which = tuple[Truths, Member]  # the exact value of a member on a problem


def exact_gap(one: _Which, other: _Which) -> tuple[Float64Array, Float64Array]:
    """Return one - other, each row right to 30 bits by root mean square, and how far off each element may be.

    An element that its radius allows to be 0 is 0; so are all of a row where the most digits do not do.
    """
    value, radius = difference(*(truths.of(member) for truths, member in (one, other)))
    defined = np.isfinite(value)
    gap = np.where(defined & (np.abs(value) <= radius), 0.0, value)
    doubt = doubt_of(gap, radius)
    size, unsure = (row_sizes(np.where(defined, np.abs(array), 0.0)) for array in (value, radius))
    unclear = unsure > RESOLVED * size
    found = gap, doubt
    last = np.where(defined, 0.0, value), np.nextafter(np.abs(value) + radius, np.inf)
    anywhere = np.asarray(unclear.any(axis=tuple(range(unclear.ndim - 1))))
    for rows in _taken_again(anywhere, block_rows(one[0].problem)):
        better = tuple(array[..., rows, :] for array in last)
        if 2 * one[0].digits <= MOST_DIGITS:
            with suppress(CertificationError):  # where there are no more digits, these are the most
                better = exact_gap(*((truths.finer(rows), member) for truths, member in (one, other)))
        for array, new in zip(found, better, strict=True):
            array[..., rows, :] = np.where(unclear[..., rows, None], new, array[..., rows, :])
    return found


def _taken_again(unclear: BoolArray, block: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows that are found again with more digits: few by themselves, and otherwise all of their block.

    What takes a whole block again is shared by all members, and does not depend on what else is measured.
    """
    for first in range(0, len(unclear), block):
        own = np.flatnonzero(unclear[first : first + block]) + first
        if len(own) > FEW * len(unclear[first : first + block]):
            own = np.arange(first, min(first + block, len(unclear)))
        if own.size:
            yield own


# A difference of exact values, and how far off it may be.
Gap = tuple[Float64Array, Float64Array]


def least(error: Float64Array, doubt: Float64Array) -> Float64Array:
    """Return the smallest |error| that a doubt about it allows; infinite where it is not a number."""
    with np.errstate(invalid="ignore"):
        size = magnitudes(error) - np.where(np.isfinite(doubt), doubt, 0.0)
    return np.maximum(size, 0.0)


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
        return least(self.error, self.doubt)


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
            "rounding": _computed(found, rounded_own),
            "quantisation": _part(gaps["quantisation"], rounded_own.value, own.value),
            "total": _computed(found, softmax),
        }
        if "formula" in gaps:
            parts["formula"] = _part(gaps["formula"], own.value, softmax.value)
        return Decomposition(found, softmax, own, rounded_own, parts)


def _computed(found: Float64Array, exact: Reference) -> Part:
    error = computed_error(found, exact)
    return Part(error, found, exact.value, doubt_of(error, exact.radius))


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
