"""The one conversion from an exact value to a number format: correctly rounded, to nearest, ties to even."""

from __future__ import annotations

from fractions import Fraction
from math import copysign, inf, ldexp, nan

from flint import arb
from mpmath import mpf

from verify.errors import CertificationError
from verify.numbers.formats import Format


class UndecidedRoundingError(CertificationError):
    """A ball holds numbers that round to different values: the enclosure has to be tighter."""


def correctly_rounded(exact: int | Fraction | float | mpf | arb, format_: Format) -> float:
    """Return the number of the format nearest to an exact value, ties to even, as a float64 (which holds it exactly).

    Subnormals are rounded once, at their own spacing.  A magnitude that would round beyond the largest number becomes
    infinity, or NaN in a format without infinities.  A negative value that rounds to zero becomes -0.0; an exact zero
    of a type without signed zeros is 0.0.  IEEE 754-2019, sections 4.3.1 and 7.4; OCP 8-bit formats 1.0, section 5.

    An arb is rounded if every number in its ball rounds alike; otherwise UndecidedRoundingError.
    """
    if isinstance(exact, arb):
        return _rounded_ball(exact, format_)
    if isinstance(exact, mpf):
        return _rounded_mpf(exact, format_)
    if isinstance(exact, float) and (exact == 0.0 or exact != exact or exact in (inf, -inf)):
        return _special(exact, format_)
    numerator, denominator = exact.as_integer_ratio()
    return _rounded_ratio(numerator, denominator, format_)


def _special(value: float, format_: Format) -> float:
    return nan if value in (inf, -inf) and not format_.infinity else value


def _rounded_mpf(exact: mpf, format_: Format) -> float:
    sign, mantissa, exponent, _ = exact._mpf_  # mpmath's own representation; its public accessors round
    if not mantissa:
        return _special(float(exact), format_)
    return _rounded_dyadic(-int(mantissa) if sign else int(mantissa), exponent, format_)


def _rounded_ball(ball: arb, format_: Format) -> float:
    if not ball.is_finite():
        return nan
    ends = [ball] if ball.is_exact() else [ball.lower(), ball.upper()]
    integers = [end.man_exp() for end in ends]
    rounded = [_rounded_dyadic(int(mantissa), int(exponent), format_) for mantissa, exponent in integers]
    low, high = rounded[0], rounded[-1]
    # tells zeros apart by sign, and takes one NaN for another on the same side of 0: from side to side lie all numbers
    if repr(low) != repr(high) or (low != low and ends[0] < 0 < ends[-1]):
        raise UndecidedRoundingError(f"{ball.str(20)} rounds to {low!r} or {high!r} in {format_.name}")
    return low


def _rounded_dyadic(mantissa: int, exponent: int, format_: Format) -> float:
    if exponent >= 0:
        # beyond every format: do not write out a number of a million digits
        return _rounded_ratio(mantissa << min(exponent, 1 << 12), 1, format_)
    return _rounded_ratio(mantissa, 1 << min(-exponent, mantissa.bit_length() + (1 << 12)), format_)


def _rounded_ratio(numerator: int, denominator: int, format_: Format) -> float:
    """Round numerator / denominator, denominator > 0."""
    if numerator == 0:
        return 0.0
    sign, size = (-1.0 if numerator < 0 else 1.0), abs(numerator)
    # floor(log2(size / denominator)), from the bit lengths, which are off by one at most
    exponent = size.bit_length() - denominator.bit_length()
    if _compare_to_power(size, denominator, exponent) < 0:
        exponent -= 1
    quantum = max(exponent, format_.min_exponent) - format_.precision + 1
    if quantum >= 0:
        steps, left = divmod(size, denominator << quantum)
        half = _compare(2 * left, denominator << quantum)
    else:
        steps, left = divmod(size << -quantum, denominator)
        half = _compare(2 * left, denominator)
    if half > 0 or (half == 0 and steps % 2):
        steps += 1
    # the largest number of every format is an integer, and nothing below 1 exceeds it
    if exponent >= 0 and (quantum > 1 << 12 or Fraction(2) ** quantum * steps > int(format_.largest)):
        return copysign(inf, sign) if format_.infinity else nan
    return copysign(ldexp(steps, quantum), sign)  # at most `precision` bits: exact


def _compare_to_power(numerator: int, denominator: int, exponent: int) -> int:
    if exponent >= 0:
        return _compare(numerator, denominator << exponent)
    return _compare(numerator << -exponent, denominator)


def _compare(a: int, b: int) -> int:
    return (a > b) - (a < b)
