"""Certificates: independent accounts of the same exact values must agree with every ball."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, fmpz
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import CertificationError
from verify.mechanisms.registry import CONVENTIONAL
from verify.numbers.intervals import Interval
from verify.numbers.precision import MAX_BITS, bits_for, digits_of, flint_precision
from verify.problem import Problem
from verify.problem.selection import of_query
from verify.truth.definition import defined_attention
from verify.truth.rational import rational_attention
from verify.truth.reference import Reference, reference

# Multiplications up to which rational arithmetic is asked too: beyond, it takes seconds.
RATIONAL_LIMIT = 500

# Digits by which the second and third account exceed the ball they are compared with.
MORE_DIGITS = 20


@dataclass(frozen=True)
class Certificate:
    """What was found to agree.

    truth: the enclosure.  elements: outputs whose mpmath value lies in its ball.  rational: those among them for which
    an interval of rational numbers, narrower than the digits asked for, meets the ball too.  widest: a bound on the
    radii, relative to the values, of those that are not essentially zero.
    """

    truth: Reference
    elements: int
    rational: int
    widest: float


def certify(problem: Problem, digits: int = 50, member: str | Member = CONVENTIONAL) -> Certificate:
    """Enclose an attention output and check it against mpmath's definition and, if small, rational arithmetic.

    Both are computed with 20 digits more than the narrowest ball has.  Raises CertificationError naming the first
    element that disagrees, and as `reference` does.
    """
    return certified(reference(problem, digits, member))


def certified(truth: Reference, rational_limit: int = RATIONAL_LIMIT) -> Certificate:
    """Check an enclosure that is there already, as `certify` does.

    rational_limit: multiplications of q and k up to which rational arithmetic is asked too.
    """
    finest = max((ball.rel_accuracy_bits() for ball in truth.balls.arbs().flat if not ball.is_exact()), default=0)
    more = max(truth.asked, digits_of(finest)) + MORE_DIGITS
    defined = defined_attention(truth.problem, truth.member, more)
    return check(truth, defined, more, rational_limit)


def certify_some(problem: Problem, digits: int, member: str | Member, rows: int = 3) -> int:
    """Certify a few rows of every head, first to last, each as a problem of its own; return how many.

    For formulas that nobody has looked at: balls of one that branches, or that knows which field it is in, are those of
    another formula.  Raises as `certify` does.
    """
    count = 0
    for head in problem.each_head():
        seeing = np.flatnonzero(head.attendance.seeing)
        for row in dict.fromkeys(
            seeing[np.linspace(0, len(seeing) - 1, rows).astype(int)].tolist() if len(seeing) else ()
        ):
            name = f"{problem.name}, head {list(head.index)}, query {row}"
            certify(of_query(problem, head, row, name), digits, member)
            count += 1
    return count


def check(truth: Reference, defined: NDArray[Any], digits: int, rational_limit: int = RATIONAL_LIMIT) -> Certificate:
    """Compare an enclosure with another account of the same values (mpf), and with rationals of so many digits."""
    problem, rational = truth.problem, 0
    with flint_precision(MAX_BITS):
        balls = truth.balls.arbs()
        for place, ball in np.ndenumerate(balls):
            _require(_holds(ball, defined[place], digits), truth, place, "the mpmath definition", str(defined[place]))
        if problem.heads * problem.queries * problem.keys * problem.head_size <= rational_limit:
            intervals = rational_attention(problem, truth.member, bits_for(digits))
            for index, interval in intervals:
                _require(_meets(balls[index], interval), truth, index, "rational arithmetic", _text(interval))
                rational += _narrow(interval, truth.asked)
    known = [
        ball.rel_accuracy_bits()
        for ball, absolute in zip(balls.flat, truth.absolute.flat, strict=True)
        if ball.is_finite() and not ball.is_exact() and not absolute
    ]
    return Certificate(truth, int(truth.value.size), rational, max(2.0 ** -min(known), 5e-324) if known else 0.0)


def _require(agrees: bool, truth: Reference, place: tuple[int, ...], who: str, other: str) -> None:
    if not agrees:
        raise CertificationError(
            f"{truth.member.name} on {truth.problem.name}: element {list(place)} is "
            f"{truth.balls.ball(place).str(30)} by balls and {other} by {who}"
        )


def _holds(ball: arb, value: Any, digits: int) -> bool:
    """Say whether an mpf with so many digits lies in a ball; what does not exist agrees only with a ball that says so.

    Where the ball is a point, because the exact value is known, the mpf is allowed its own last digit.
    """
    sign, mantissa, exponent, _ = value._mpf_
    if not mantissa and exponent:  # infinite or NaN
        return bool(ball.is_nan()) and bool(value != value)
    exact = arb(fmpz(-int(mantissa) if sign else int(mantissa))) * arb(2) ** int(exponent)
    if ball.is_exact() and ball.is_finite():
        return bool(abs(exact - ball) <= abs(ball) * arb(10) ** -digits)
    return bool(ball.is_finite()) and bool(ball.contains(exact))


def _meets(ball: arb, interval: Interval) -> bool:
    """Say whether an interval and a ball have a number in common."""
    if not ball.is_finite():
        return False
    low, high = (_exact_fraction(end) for end in (ball.lower(), ball.upper()))
    return interval.low <= high and low <= interval.high


def _narrow(interval: Interval, digits: int) -> bool:
    """Say whether an interval is so narrow that meeting it says something: 10**-digits of every number in it."""
    nearest = max(interval.low, -interval.high, Fraction(0))
    return bool(interval.high - interval.low <= nearest / 10**digits)


def _exact_fraction(x: arb) -> Fraction:
    mantissa, exponent = x.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _text(interval: Interval) -> str:
    return f"[{float(interval.low)!r}, {float(interval.high)!r}]"
