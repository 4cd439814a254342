"""Certificates: independent accounts of the same exact values must agree with every ball."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import CertificationError
from verify.integers import how_many
from verify.mechanisms.registry import CONVENTIONAL
from verify.numbers.formats import FORMATS
from verify.numbers.intervals import Interval
from verify.numbers.precision import MAX_BITS, bits_for, digits_of, flint_precision
from verify.numbers.rounding import correctly_rounded
from verify.problem import Problem
from verify.problem.selection import of_query
from verify.truth.definition import defined_attention
from verify.truth.enclosure import GUARD_BITS
from verify.truth.in_blocks import times_of
from verify.truth.rational import rational_attention
from verify.truth.reference import Reference, reference

# Work up to which rational arithmetic is asked too, see `rational_work`: beyond, it takes seconds.
RATIONAL_LIMIT = 500

# Digits by which the second and third account exceed the ball they are compared with.
MORE_DIGITS = 20

# How often an account that disagrees is asked once more, with twice the digits: it promises nothing about its last.
TIMES_ASKED = 3


@dataclass(frozen=True)
class Certificate:
    """What was found to agree.

    truth: the enclosure.  elements: outputs whose mpmath value lies in its ball.  rational: those among them for which
    an interval of rational numbers, narrower than the digits asked for, meets the ball too.  widest: a bound on the
    radii, relative to the values, of those that are not essentially zero.  without_rational: why rational arithmetic
    was not asked about some of them, or says nothing; empty if it was asked about all and says something.
    """

    truth: Reference
    elements: int
    rational: int
    widest: float
    without_rational: str = ""


def certify(problem: Problem, digits: int = 50, member: str | Member = CONVENTIONAL) -> Certificate:
    """Enclose an attention output and check it against mpmath's definition and, if small, rational arithmetic.

    Both are computed with 20 digits more than the narrowest ball has, as far as it was worked out.  Raises
    CertificationError naming the first element that disagrees, and as `reference` does.
    """
    return certified(reference(problem, digits, member))


def certified(truth: Reference, rational_limit: int = RATIONAL_LIMIT) -> Certificate:
    """Check an enclosure that is there already, as `certify` does.

    rational_limit: work up to which rational arithmetic is asked too.
    """
    finest = max((ball.rel_accuracy_bits() for ball in truth.balls.arbs().flat if not ball.is_exact()), default=0)
    # beside a weight of exp(-10**9) a ball may be narrower than any digits that it was worked out with
    finest = min(finest, bits_for(truth.asked) + 2 * GUARD_BITS)
    more = max(truth.asked, digits_of(finest)) + MORE_DIGITS
    for _ in range(TIMES_ASKED - 1):
        try:
            return check(truth, defined_attention(truth.problem, truth.member, more), more, rational_limit)
        except CertificationError:
            more *= 2
    return check(truth, defined_attention(truth.problem, truth.member, more), more, rational_limit)


def rational_work(problem: Problem, member: Member) -> int:
    """Return about how much work rational arithmetic takes: d products a pair, and (N / 8)^2 for N powers of a logit.

    Its numbers have as many digits as powers have factors.
    """
    pairs = problem.heads * problem.queries * problem.keys
    return pairs * (problem.head_size + (times_of(member) // 8) ** 2)


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
    problem, rational, told = truth.problem, 0, 0
    work = rational_work(problem, truth.member)
    with flint_precision(MAX_BITS):
        balls = truth.balls.arbs()
        for place, ball in np.ndenumerate(balls):
            _require(_holds(ball, defined[place], digits), truth, place, "the mpmath definition", str(defined[place]))
        if work <= rational_limit:
            intervals = rational_attention(problem, truth.member, bits_for(digits))
            for index, interval in intervals:
                _require(_meets(balls[index], interval), truth, index, "rational arithmetic", _text(interval))
                rational += _narrow(interval, truth.asked)
                told += 1
    known = [
        ball.rel_accuracy_bits()
        for ball, absolute in zip(balls.flat, truth.absolute.flat, strict=True)
        if ball.is_finite() and not ball.is_exact() and not absolute
    ]
    asked = int(problem.attended_rows.sum()) * problem.value_size
    reasons = []
    if work > rational_limit:
        reasons.append(f"rational arithmetic takes work of {work:,}, more than {rational_limit:,}")
    elif told < asked:
        reasons.append(f"{how_many(asked - told, 'output')} of weights beyond rational arithmetic")
    if told > rational:
        reasons.append(f"{how_many(told - rational, 'interval')} too wide to say anything")
    widest = max(2.0 ** -min(known), 5e-324) if known else 0.0
    return Certificate(truth, int(truth.value.size), rational, widest, "; ".join(reasons))


def _require(agrees: bool, truth: Reference, place: tuple[int, ...], who: str, other: str) -> None:
    if not agrees:
        raise CertificationError(
            f"{truth.member.name} on {truth.problem.name}: element {list(place)} is "
            f"{truth.balls.ball(place).str(30)} by balls and {other} by {who}"
        )


def _holds(ball: arb, value: Any, digits: int) -> bool:
    """Say whether an mpf with so many digits lies in a ball; what does not exist agrees only with a ball that says so.

    Where the ball is a point, because the exact value is known, or narrower than those digits, the mpf is allowed its
    own last digit.
    """
    sign, mantissa, exponent, _ = value._mpf_
    if not mantissa and exponent:  # infinite or NaN
        return bool(ball.is_nan()) and bool(value != value)
    exact = arb((-int(mantissa) if sign else int(mantissa), int(exponent)))
    digit = abs(ball) * arb(10) ** -digits
    if ball.is_finite() and ball.rad() <= digit:
        return bool(abs(exact - ball) <= digit)
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
    ends = (correctly_rounded(end, FORMATS["float64"]) for end in (interval.low, interval.high))
    return "[{!r}, {!r}]".format(*ends)
