from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from tests.cases import EXTREME, PROBLEMS, every_mechanism
from tests.certify import DIGITS, KINDS, MECHANISMS, campaign
from verify.errors import CertificationError
from verify.numbers.balls import Balls
from verify.numbers.intervals import Interval, exponential, inverse_square_root
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


@every_mechanism
def test_one_part_in_ten_to_the_45_is_caught_in_either_method(mechanism: str, order: int | None) -> None:
    problem = PROBLEMS[0]
    truth = reference(problem, DIGITS, mechanism, order)
    defined = defined_attention(problem, mechanism=mechanism, order=order, digits=100)
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
    defined = defined_attention(problem, mechanism="softmax", digits=100)
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
    found = inverse_square_root(size, 200)
    assert found.low**2 * size <= 1 <= found.high**2 * size
    assert found.high - found.low == Fraction(1, 2**200)


def test_intervals_hold_all_results() -> None:
    rng = np.random.default_rng(27)
    for _ in range(200):
        a, b, c, d = sorted(Fraction(int(x), 7) for x in rng.integers(-20, 20, 4))
        cases = [((a, b), (c, d)), ((a, d), (b, c)), ((c, d), (a, b))]
        for one, other in ((Interval(*left), Interval(*right)) for left, right in cases):
            x, y = (one.low + 2 * one.high) / 3, (2 * other.low + other.high) / 3
            pairs = [(one + other, x + y), (one * other, x * y), (one.times(y), x * y)]
            if not other.low <= 0 <= other.high:
                pairs.append((one / other, x / y))
            else:
                with pytest.raises(ZeroDivisionError):
                    one / other
            for interval, value in pairs:
                assert interval.low <= value <= interval.high
                wider = interval.outward(5)
                assert wider.low <= interval.low <= interval.high <= wider.high
                assert wider.high - interval.high <= abs(interval.high) / 4
