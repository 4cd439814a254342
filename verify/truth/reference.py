"""Certified attention outputs as arrays a program can use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb
from mpmath import mp
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.formats import Format
from verify.problem import BoolArray, Float64Array, Problem
from verify.rounding import UndecidedRoundingError, correctly_rounded
from verify.truth.enclosure import MAX_BITS, BlockEnclosure, enclose
from verify.truth.mechanisms import check_mechanism, check_order
from verify.truth.precision import bits_for, digits_of, flint_precision, mpmath_precision

# A truth is never asked for with fewer digits than float64 arrays can show the error of: value + residual hold 32.
MAX_DIGITS = 1000


@dataclass(frozen=True, eq=False)
class Reference:
    """An attention output with proven digits.

    value: [..., H, n_q, d_v], the float64 nearest to the centre of the ball; infinite if that lies beyond float64.
    residual: same shape, the float64 nearest to (centre - value); value + residual hold the centre to 106 bits where
    neither is subnormal.
    radius: same shape, upper bounds: |exact - centre| <= radius.  NaN where the formula has no value.
    digits: certified digits, the least over all elements.
    absolute: True where a value is essentially zero: certified to lie below 10**-(2 digits asked for) of the sum of the
    magnitudes of its terms.  Such a value has no digits of its own.
    normaliser_sign: [..., H, n_q], sign of the exact sum of weights: -1, 0 or 1.
    asked: the digits that were asked for.  balls: same shape as value, the enclosures as arb.
    """

    problem: Problem
    mechanism: str
    order: int | None
    value: Float64Array
    residual: Float64Array
    radius: Float64Array
    digits: int
    absolute: BoolArray
    normaliser_sign: NDArray[np.int8]
    asked: int
    balls: NDArray[Any]

    def to_mpf(self) -> NDArray[Any]:
        """Return the centres of the balls as an object array of mpf, exact."""
        output = np.empty(self.balls.shape, dtype=object)
        with mpmath_precision(MAX_BITS):
            for place, ball in np.ndenumerate(self.balls):
                if ball.is_finite():
                    mantissa, exponent = ball.mid().man_exp()
                    output[place] = mp.ldexp(mp.mpf(int(mantissa)), int(exponent))
                else:
                    output[place] = mp.nan
        return output

    def rounded(self, format_: Format) -> NDArray[Any]:
        """Return the exact values correctly rounded to a format, as an array of its numpy type; NaN where undefined.

        Where a ball holds numbers that round differently, the value is enclosed again with twice the digits.  A value
        that is essentially zero (absolute) and may have either sign becomes 0.0.  Raises CertificationError if no
        precision up to the cap decides: the exact value may be a tie that no ball can show to be one.
        """
        values = np.empty(self.value.shape)
        with flint_precision(MAX_BITS):
            for place, ball in np.ndenumerate(self.balls):
                try:
                    values[place] = correctly_rounded(ball, format_)
                except UndecidedRoundingError:
                    if self.absolute[place] and abs(ball) < arb(format_.smallest) / 2:
                        values[place] = 0.0
                        continue
                    if 2 * self.asked > MAX_DIGITS:
                        raise
                    again = reference(self.problem, 2 * self.asked, self.mechanism, self.order)
                    return again.rounded(format_)
        return values.astype(format_.dtype)

    @property
    def undefined_rows(self) -> BoolArray:
        """Rows whose weights sum to exactly zero although something is attended, [..., H, n_q]."""
        rows: BoolArray = (self.normaliser_sign == 0) & self.problem.attended_rows
        return rows

    @property
    def nonpositive_rows(self) -> BoolArray:
        """Rows that attend to something and whose exact sum of weights is zero or negative, [..., H, n_q]."""
        rows: BoolArray = (self.normaliser_sign <= 0) & self.problem.attended_rows
        return rows


def difference(one: Reference, other: Reference) -> tuple[Float64Array, Float64Array]:
    """Return one - other and its radius: |exact difference - returned| <= radius; NaN where either has no value."""
    with flint_precision(MAX_BITS):  # every difference below is exact before it is rounded to float64
        gaps = [float(a.mid() - b.mid()) for a, b in zip(one.balls.flat, other.balls.flat, strict=True)]
    value = np.reshape(gaps, one.value.shape)
    # the factor covers the roundings of the gap itself, of this sum and of the product
    with np.errstate(under="ignore"):
        return value, (one.radius + other.radius + 2.0**-53 * np.abs(value)) * (1.0 + 2.0**-50) + 2.0**-1074


def reference(problem: Problem, digits: int = 30, mechanism: str = "softmax", order: int | None = None) -> Reference:
    """Return the exact attention output of one mechanism, enclosed to `digits` digits.

    softmax: sum_t exp(s_t) v_t / sum_t exp(s_t) with s_t = scale q.k_t.  taylor: the same with exp cut after the power
    `order`, SA (9).  logexp: LE (1), to which the scale does not apply.

    Every element has a relative radius of at most 10**-digits, except where it is essentially zero (see
    Reference.absolute).  Raises InvalidRequestError for an unknown mechanism, a missing or needless order, or digits
    outside 1..1000; CertificationError if the precision cap does not suffice.
    """
    check_mechanism(mechanism, order)
    if mechanism == "taylor":
        assert order is not None
        return taylor_references(problem, [order], digits)[order]
    _check_digits(digits)
    truth = _Accumulator(problem, mechanism, None, digits)
    for _, block in enclose(problem, mechanism, None, digits):
        truth.add(block)
    return truth.finish()


def taylor_references(problem: Problem, orders: Sequence[int], digits: int = 30) -> dict[int, Reference]:
    """Return the exact Taylor outputs of several orders in one pass over the powers of the logits.

    Raises as `reference` does.
    """
    for wish in orders:
        check_order(wish)
    _check_digits(digits)
    wanted = sorted(set(orders))
    if not wanted:
        return {}
    truths = {wish: _Accumulator(problem, "taylor", wish, digits) for wish in wanted}
    for order, block in enclose(problem, "taylor", range(wanted[0], wanted[-1] + 1), digits):
        if order is not None and order in truths:
            truths[order].add(block)
    return {wish: truth.finish() for wish, truth in truths.items()}


def _check_digits(digits: int) -> None:
    if not 1 <= digits <= MAX_DIGITS:
        raise InvalidRequestError(f"{digits} digits", f"1 to {MAX_DIGITS}", "ask for fewer or more digits")


class _Accumulator:
    """Collects the blocks of one mechanism and order into arrays."""

    def __init__(self, problem: Problem, mechanism: str, order: int | None, digits: int) -> None:
        self.identity = (problem, mechanism, order)
        self.digits = digits
        self.fewest = 1 << 62
        shape = problem.output_shape
        self.value, self.residual, self.radius = (np.zeros(shape) for _ in range(3))
        self.absolute = np.zeros(shape, dtype=np.bool_)
        self.sign = np.zeros(shape[:-1], dtype=np.int8)
        self.balls = np.empty(shape, dtype=object)

    def add(self, block: BlockEnclosure) -> None:
        place: Any = (*block.head.index, block.rows)
        with flint_precision(MAX_BITS):  # every difference below is exact
            flat = block.output.ravel()
            centres = [y.mid() for y in flat]
            values = [float(c) for c in centres]
            finite = [y.is_finite() for y in flat]
            residuals = [float(c - v) if ok else math.nan for c, v, ok in zip(centres, values, finite, strict=True)]
            radii = [_upper(y.rad()) if ok else math.nan for y, ok in zip(flat, finite, strict=True)]
        shape = block.output.shape
        self.value[place] = np.reshape(values, shape)
        self.residual[place] = np.reshape(residuals, shape)
        self.radius[place] = np.reshape(radii, shape)
        self.absolute[place] = block.absolute
        self.sign[place] = [int(z > 0) - int(z < 0) for z in block.normaliser]
        self.balls[place] = block.output
        self.fewest = min(self.fewest, int(block.bits.min(initial=self.fewest)))

    def finish(self) -> Reference:
        problem, mechanism, order = self.identity
        bits = min(self.fewest - 1, bits_for(MAX_DIGITS))
        return Reference(
            problem=problem,
            mechanism=mechanism,
            order=order,
            value=self.value,
            residual=self.residual,
            radius=self.radius,
            digits=digits_of(bits),
            absolute=self.absolute,
            normaliser_sign=self.sign,
            asked=self.digits,
            balls=self.balls,
        )


def _upper(radius: arb) -> float:
    """Return a float64 that is not below the radius, which may be smaller than any float64."""
    return 0.0 if radius.is_zero() else math.nextafter(float(radius), math.inf)
