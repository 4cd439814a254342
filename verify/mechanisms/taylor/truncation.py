"""Bounds on what cutting exp after a power does to weights and outputs, certified with ball arithmetic.

With T_N(s) = sum over p <= N of s^p / p!, the relative deviation of a weight is delta(s) = T_N(s) exp(-s) - 1, and its
derivative is -exp(-s) s^N / N!: delta is minus the regularised incomplete gamma function P(N + 1, s) (NIST Digital
Library of Mathematical Functions, 8.4.9 and 8.2.4).  For even N it falls everywhere and has the sign of -s.  For odd N
it rises up to 0 at s = 0 and falls after it, so that it is never positive.
"""

from __future__ import annotations

from functools import partial
from math import factorial, inf

from flint import arb, fmpz_poly

from verify.arguments import checked_integer, checked_order
from verify.bounds.logits import check_range, moved_by, resolved
from verify.errors import CertificationError, InvalidRequestError
from verify.numbers.precision import MAX_BITS, bits_for, flint_precision

# Beyond these, bounds and zeros of orders take seconds, and mean nothing.
MOST_ORDER = 1000
MOST_DIGITS = 1000


def relative_truncation(order: int, radius: float) -> float:
    """Return an upper bound on |T_N(s) - exp(s)| / exp(s) over |s| <= R, tight to float64: that at s = -R.

    |delta(-R)| = integral from 0 to R of exp(u) u^N / N! >= that with exp(-u), which is |delta(R)|.
    """
    return max(abs(x) for x in deviation_range(order, -radius, radius))


def deviation_range(order: int, low: float, high: float) -> tuple[float, float]:
    """Return bounds on delta(s) = T_N(s) exp(-s) - 1 over low <= s <= high, rounded outwards to float64."""
    _checked(order)
    check_range(low, high)
    ends = [resolved(partial(_deviation, order, end)) for end in (low, high)]
    least, most = min(down for down, _ in ends), max(up for _, up in ends)
    return (least, max(most, 0.0)) if order % 2 and low <= 0.0 <= high else (least, most)


def output_bound(low: float, high: float, order: int) -> float:
    """Return a bound on |y' - y| / (max v - min v) for softmax weights cut after a power, logits between low and high.

    `verify.bounds.logits.moved_by` of the smallest and the largest factor 1 + delta.  Infinite unless all weights are
    sure to be positive.
    """
    _checked(order)
    check_range(low, high)

    def bound() -> arb:
        factors = [_factor(order, end) for end in (low, high)]
        least = factors[0].min(factors[1])
        most = factors[0].max(factors[1]) if order % 2 == 0 or not low <= 0.0 <= high else arb(1)
        return moved_by(least, most)

    if order % 2 and not resolved(partial(_factor, order, low))[0] > 0:
        return inf
    return 0.0 if low == high else min(1.0, resolved(bound)[1])


def positivity_radius(order: int, digits: int = 30) -> arb | None:
    """Return the R at which T_N(-R) = 0 for odd N, as a ball with a radius below 10^-digits; None for even N.

    T_N' = T_{N-1}, and even orders are positive everywhere (at a minimum, T_N = s^N / N! there), so that odd ones rise
    and have one zero: weights are positive for s > -R and negative for s < -R.  The ball is an interval at whose ends
    T_N is shown to have either sign.  Raises InvalidRequestError for orders or digits that are none or too large,
    CertificationError if the precision cap does not suffice.
    """
    order, digits = _checked(order), checked_integer("digits", digits, 1, MOST_DIGITS)
    if order % 2 == 0:
        return None
    polynomial = fmpz_poly([factorial(order) // factorial(p) * (-1) ** p for p in range(order + 1)])  # N! T_N(-R)
    wanted = bits_for(digits) + 16
    bits = 2 * (wanted + order.bit_length() + 64)
    while True:  # terms reach exp(R), and add up to nothing
        with flint_precision(min(bits, MAX_BITS)):
            found = _zero(polynomial, order, wanted)
        if found is not None:
            return found
        if bits >= MAX_BITS:
            raise CertificationError(f"the zero of order {order} to {digits} digits exceeds the precision cap")
        bits *= 2


def _zero(polynomial: fmpz_poly, order: int, bits: int) -> arb | None:
    """Return the zero to within 2**-bits: by halving, and by Newton's method from there; None if signs do not tell.

    Where halving meets the zero itself, that is exact.
    """
    # T_N(0) = 1, and T_N(-N - 1) < 0: terms grow there, so that each of odd degree outweighs the one before
    low, high = arb(0), arb(order + 1)
    for _ in range(order.bit_length() + 64):
        middle = (low + high) / 2
        value = polynomial(middle)
        if value.is_zero():
            return middle
        low, high = (middle, high) if value > 0 else (low, middle)
    near, derivative = (low + high).mid() / 2, polynomial.derivative()
    for _ in range(bits.bit_length()):  # each has twice the bits of the one before
        near = (near - polynomial(near) / derivative(near)).mid()
    found = arb(near, arb(2) ** -bits)
    return found if polynomial(found.lower()) > 0 and polynomial(found.upper()) < 0 else None


def _checked(order: int) -> int:
    found = checked_order(order)
    if found > MOST_ORDER:
        raise InvalidRequestError(f"order {found}", f"an integer from 0 to {MOST_ORDER}", "choose another order")
    return found


def _factor(order: int, s: float) -> arb:
    """Return 1 + delta(s) = T_N(s) exp(-s), at the precision there is."""
    term = total = arb(1)
    for p in range(1, order + 1):
        term = term * arb(s) / p
        total += term
    return total * (-arb(s)).exp()


def _deviation(order: int, s: float) -> arb:
    return _factor(order, s) - 1
