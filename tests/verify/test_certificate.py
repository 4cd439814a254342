from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from tests.cases import EXTREME, PROBLEMS, every_mechanism, named
from tests.certify import DIGITS, KINDS, MECHANISMS, campaign
from verify.errors import CertificationError
from verify.numbers.balls import Balls
from verify.numbers.fields import RationalField
from verify.numbers.intervals import Interval, exponential, square_root
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.problem import Problem
from verify.truth import certificate, certify, defined_attention, reference
from verify.truth.rational import rational_attention

REDUCED = 2 * len(KINDS) * len(MECHANISMS)


def test_the_campaign_at_a_reduced_count() -> None:
    seen = set()
    for kind, mechanism, order, found in campaign(REDUCED):
        seen.add((kind, mechanism, order))
        assert found.truth.digits >= DIGITS
        assert found.widest < 10.0**-DIGITS
        assert found.elements == found.truth.value.size
    assert len(seen) == len(KINDS) * len(MECHANISMS)


@pytest.mark.parametrize("problem", [*PROBLEMS, *EXTREME], ids=lambda problem: problem.name)
def test_three_accounts_agree(problem: Problem) -> None:
    found = certify(problem, DIGITS)
    small = problem.heads * problem.queries * problem.keys * problem.head_size <= certificate.RATIONAL_LIMIT
    assert found.rational == small * problem.attended_rows.sum() * problem.value_size


@pytest.mark.parametrize("member", ["mean", "power:degree=4", "elu", "favor:features=2,seed=1"])
def test_three_accounts_agree_on_what_families_make(member: str) -> None:
    # the last has no common factor that keeps its exponentials small: rational numbers of such problems are long
    small = Problem([[0.5, 1.0]], [[1.0, 0.25], [0.5, -0.5]], [[1.0], [3.0]])
    for problem in [small] if member.startswith("favor") else [PROBLEMS[place] for place in (0, 1, 6, 7)]:
        found = certify(problem, DIGITS, member)
        assert found.truth.digits >= DIGITS
        assert found.elements == found.truth.value.size
        assert found.rational == problem.heads * problem.attended_rows.sum() * problem.value_size > 0


@every_mechanism
def test_one_part_in_ten_to_the_45_is_caught_in_either_method(mechanism: str, order: int | None) -> None:
    problem = PROBLEMS[0]
    truth = reference(problem, DIGITS, named(mechanism, order))
    defined = defined_attention(problem, named(mechanism, order), 100)
    assert certificate.check(truth, defined, 100).elements == truth.value.size
    with mpmath_precision(400):
        planted = defined.copy()
        planted[3, 1] *= 1 + mp.mpf(10) ** -45
    with pytest.raises(CertificationError, match=r"element \[3, 1\] .* by the mpmath definition"):
        certificate.check(truth, planted, 100)
    with flint_precision(400):
        balls = truth.balls.arbs()
        balls[2, 0] = balls[2, 0] * (1 + arb(10) ** -45)
    with pytest.raises(CertificationError, match=r"element \[2, 0\]"):
        certificate.check(dataclasses.replace(truth, balls=Balls.of(balls)), defined, 100)
    with mpmath_precision(400):  # both wrong in the same way: the third account notices
        planted[3, 1], planted[2, 0] = defined[3, 1], defined[2, 0] * (1 + mp.mpf(10) ** -45)
    with flint_precision(400):
        balls[2, 0] = balls[2, 0] + arb(0, arb(10) ** -70)
    with pytest.raises(CertificationError, match=r"element \[2, 0\] .* by rational arithmetic"):
        certificate.check(dataclasses.replace(truth, balls=Balls.of(balls)), planted, 100)


def test_an_interval_that_says_nothing_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = PROBLEMS[0]
    assert certify(problem, DIGITS).rational == problem.queries * problem.value_size

    def widened(*arguments: Any) -> Any:
        for index, interval in rational_attention(*arguments):
            yield index, Interval(interval.low - Fraction(1, 10**40), interval.high)

    monkeypatch.setattr(certificate, "rational_attention", widened)
    assert certify(problem, DIGITS).rational == 0


def test_answers_that_are_no_numbers_are_caught() -> None:
    problem = PROBLEMS[0]
    truth = reference(problem, DIGITS)
    defined = defined_attention(problem, "softmax", digits=100)
    for special in (mp.nan, mp.inf):
        planted = np.full_like(defined, special)
        with pytest.raises(CertificationError, match=r"element \[0, 0\]"):
            certificate.check(truth, planted, 100)
    balls = np.full(truth.balls.shape, arb.nan())
    with pytest.raises(CertificationError, match=r"element \[0, 0\]"):
        certificate.check(dataclasses.replace(truth, balls=Balls.of(balls)), defined, 100)


@pytest.mark.parametrize("x", [*map(Fraction, (0, 1, 700, -10_000)), Fraction(-1, 3), Fraction(1, 2**1080)])
@pytest.mark.parametrize("bits", [20, 100, 400])
def test_the_interval_exponential(x: Fraction, bits: int) -> None:
    found = exponential(Interval(x, x), bits)
    with mpmath_precision(bits + 2000):
        low, high = (mp.mpf(end.numerator) / end.denominator for end in (found.low, found.high))
        exact = mp.exp(mp.mpf(x.numerator) / x.denominator)
        assert low <= exact <= high
        assert high - low <= exact * mp.mpf(2) ** (8 - bits)
    wide = exponential(Interval(x - 1, x + 1), bits)
    assert wide.low < found.low <= found.high < wide.high


@pytest.mark.parametrize("size", [1, 2, 3, 64, 127])
def test_the_interval_of_an_inverse_square_root(size: int) -> None:
    found = RationalField(200).scale(None, size)
    assert found.low**2 * size <= 1 <= found.high**2 * size
    assert found.high - found.low <= Fraction(1, 2**200)


@pytest.mark.parametrize(
    "x", [Fraction(0), Fraction(1, 3), Fraction(9, 4), Fraction(2), Fraction(1, 7**400), Fraction(10**300 + 1)]
)
def test_the_interval_of_a_square_root(x: Fraction) -> None:
    for bits in (5, 200):
        found = square_root(Interval(x, x), bits)
        assert found.low**2 <= x <= found.high**2
        assert found.high - found.low <= found.high / 2**bits
        wide = square_root(Interval(x, x + 1), bits)
        assert wide.low == found.low
        assert x + 1 <= wide.high**2 <= (x + 1) * (1 + Fraction(4, 2**bits))
    assert square_root(Interval(Fraction(9, 4), Fraction(9, 4)), 5) == Interval(Fraction(3, 2), Fraction(3, 2))
    with pytest.raises(ValueError, match="square root"):
        square_root(Interval(-Fraction(1, 2**300), x), 20)


def test_intervals_hold_all_results() -> None:
    rng = np.random.default_rng(27)
    for _ in range(200):
        a, b, c, d = sorted(Fraction(int(x), 7) for x in rng.integers(-20, 20, 4))
        cases = [((a, b), (c, d)), ((a, d), (b, c)), ((c, d), (a, b))]
        for one, other in ((Interval(*left), Interval(*right)) for left, right in cases):
            x, y = (one.low + 2 * one.high) / 3, (2 * other.low + other.high) / 3
            pairs = [(one + other, x + y), (one * other, x * y), (one * y, x * y), (y * one, x * y)]
            pairs += [(one - other, x - y), (y - one, y - x), (-one, -x), (one + y, x + y)]
            pairs += [(one**power, end**power) for power in (0, 1, 2, 3) for end in (x, one.low, one.high)]
            if one.low <= 0 <= one.high:
                pairs += [(one**2, Fraction(0)), (one**3, Fraction(0))]
            else:
                pairs.append((y / one, y / x))
            if not other.low <= 0 <= other.high:
                pairs.append((one / other, x / y))
            else:
                with pytest.raises(ZeroDivisionError):
                    one / other
            for interval, value in pairs:
                assert interval.low <= value <= interval.high
            p, q = Interval.point(x), Interval.point(y)
            points = [(p + q, x + y), (p - q, x - y), (p * q, x * y), (-p, -x), (p**3, x**3), (p * 2 - 1, 2 * x - 1)]
            points += [(p / q, x / y)] if y else []
            assert all(interval.is_point and interval.low == value for interval, value in points)
            assert all(found.low == found.high for found in (p * other, other + q, one * one) if found.is_point)


@pytest.mark.parametrize("digits", [50, 100])
def test_exact_balls_agree_with_nothing_but_their_number(digits: int) -> None:
    # no logits at all: the mean of 1 and 2, a point
    problem = Problem([[0.0]], [[0.0], [0.0]], [[1.0], [2.0]], scale=1.0)
    truth = reference(problem, 30)
    assert truth.balls.ball((0, 0)).is_exact()
    defined = defined_attention(problem, "softmax", digits=digits)
    assert certificate.check(truth, defined, digits).elements == 1
    with mpmath_precision(600):
        planted = [1 + sign * mp.mpf(10) ** -places for sign in (1, -1) for places in (1, 45, digits - 1)]
        for factor in planted:
            with pytest.raises(CertificationError, match=r"element \[0, 0\] is 1.5.* by the mpmath definition"):
                certificate.check(truth, defined * factor, digits)
        # its own last digit is all that it may be off by
        assert certificate.check(truth, defined * (1 + mp.mpf(10) ** -(digits + 1)), digits).elements == 1


# (1 - exp(x))^3 over the sum of 1, exp(x), exp(2 x), exp(3 x): for x = 2^-63, some -2^-191, which cancels 190 bits
CANCELLING = Problem([[1.0]], [[i * 2.0**-63] for i in range(4)], [[1.0], [-3.0], [3.0], [-1.0]], scale=1.0)


def test_the_definition_is_asked_for_more_digits_than_the_ball_has() -> None:
    # a ball of 50 digits has 64 bits more, whatever cancels; the definition has those that it is asked for, 15 digits
    # and 159 bits, and loses 190: without more than 50 asked for it would lie outside
    found = certify(CANCELLING, 50)
    assert found.elements == 1
    assert 2.0**-240 < found.widest < 2.0**-220


def test_the_definition_has_its_digits_though_many_cancel() -> None:
    defined = defined_attention(CANCELLING, "softmax", digits=50)
    with mpmath_precision(1000):
        x = mp.mpf(2) ** -63
        exact = -(mp.expm1(x) ** 3) / sum(mp.exp(i * x) for i in range(4))
        assert abs(defined[0, 0] - exact) <= mp.mpf(10) ** -50 * abs(exact)


@pytest.mark.parametrize("bits", [5, 10, 20])
def test_the_interval_exponential_of_many_numbers(bits: int) -> None:
    # the tail of the series is nearly its first term left out: half of that as the radius misses some of these
    with mpmath_precision(400):
        for sevenths in range(-40, 41):
            x = Fraction(sevenths, 7)
            found = exponential(Interval(x, x), bits)
            low, high = (mp.mpf(end.numerator) / end.denominator for end in (found.low, found.high))
            assert low <= mp.exp(mp.mpf(sevenths) / 7) <= high


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_is_narrow_up_to_a_unit_of_the_last_digit_asked_for(sign: int) -> None:
    """Relative to its number next to zero; about zero itself nothing is narrow."""
    for digits in (1, 5, 40):
        unit = Fraction(2, 10**digits)
        for width, narrow in ((unit, True), (unit * Fraction(1001, 1000), False), (unit / 2, True)):
            ends = sorted((Fraction(2 * sign), sign * (2 + width)))
            assert certificate._narrow(Interval(*ends), digits) == narrow
    assert not certificate._narrow(Interval(Fraction(-1, 10**9), Fraction(1, 10**9)), 1)
