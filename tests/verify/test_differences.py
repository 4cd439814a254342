"""Differences of exact values: the nearest numbers, and radii that hold both balls."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import ulp
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from tests.cases import named
from verify.errors import InvalidRequestError
from verify.numbers.balls import Balls
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.problem import Problem
from verify.truth import Reference, difference, reference


@pytest.mark.parametrize("order", [0, 5, 15, 25, 40, 60, 200])
def test_differences_are_right_however_small(order: int) -> None:
    # truncation errors from 1 to 1e-60, and to what no ball of these tells from zero
    rng = np.random.default_rng(35)
    q, k, v = rng.standard_normal((3, 6, 3))
    v *= [1.0, 1e-280, 5e-324 * 2**20]
    problem = Problem(q, k, v)
    one, other = reference(problem, 60), reference(problem, 60, named("taylor", order))
    gap, radius = difference(one, other)
    with mpmath_precision(2000):
        exact = one.to_mpf() - other.to_mpf()
        for place, value in np.ndenumerate(exact):
            assert abs(value - mp.mpf(float(gap[place]))) <= mp.mpf(2) ** -52 * abs(value) + mp.mpf(5e-324)
    assert (radius >= one.radius + other.radius + 2.0**-54 * np.abs(gap)).all()
    with pytest.raises(InvalidRequestError, match="the same shape"):
        difference(one, reference(Problem(q, k, v[:, :1])))


def planted(*balls: arb) -> Reference:
    """Return a reference whose elements [n, 1] are these balls, and whose problem is another."""
    truth = reference(Problem([[0.0]], [[0.0]], [[0.0]], scale=1.0), 15)
    return dataclasses.replace(truth, balls=Balls.of(np.array(balls, dtype=object)[:, None]))


def exact_fraction(x: arb) -> Fraction:
    mantissa, exponent = x.man_exp()
    return int(mantissa) * Fraction(2) ** int(exponent)


def test_differences_are_the_nearest_numbers() -> None:
    # right to 2**-104 of both values, and rounded to nearest: whichever of the two is larger, and with digits of both
    # below float64
    rng = np.random.default_rng(36)
    numbers = rng.standard_normal((2, 500)) * 2.0 ** rng.integers(-20, 21, (2, 500))
    with flint_precision(300):
        one, other = (
            [arb(x) + arb(y) * arb(2) ** -60 for x, y in zip(row, rng.standard_normal(500).tolist(), strict=True)]
            for row in numbers.tolist()
        )
    gaps, _ = difference(planted(*one), planted(*other))
    for gap, x, y in zip(gaps[:, 0].tolist(), map(exact_fraction, one), map(exact_fraction, other), strict=True):
        assert abs(Fraction(gap) - (x - y)) <= Fraction(ulp(gap)) / 2 + (abs(x) + abs(y)) / 2**104


@pytest.mark.parametrize("size", range(-160, -40, 8))
def test_differences_far_below_both_values_are_right(size: int) -> None:
    # two float64 hold the values to 2**-106: what is below 2**-52 of that, they do not hold to 53 bits
    rng = np.random.default_rng(37)
    thirds, gaps = rng.integers(1, 1000, (2, 20)).tolist()
    with flint_precision(300):
        other = [arb(x) / 3 for x in thirds]
        one = [y + arb(gap) * arb(2) ** size / 7 for y, gap in zip(other, gaps, strict=True)]
        one, other = ([x.mid() for x in row] for row in (one, other))
    found, _ = difference(planted(*one), planted(*other))
    for gap, x, y in zip(found[:, 0].tolist(), map(exact_fraction, one), map(exact_fraction, other), strict=True):
        assert abs(Fraction(gap) - (x - y)) <= (x - y) / 2**52


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # the larger radius swallows the smaller one: 1 + 2**-54 rounds to 1
        ((1, 1), (1, Fraction(1, 2**54))),
        ((Fraction(1, 3), 1), (Fraction(1, 7), Fraction(3, 2**55))),
        ((3, Fraction(7, 2**60)), (2, Fraction(5, 2**115))),
        # a difference of three halves of the smallest number, which float64 rounds by half of it
        ((Fraction(3, 2**1075), 0), (0, 0)),
        ((Fraction(2**40 + 1, 2**1075), 0), (Fraction(2, 2**1075), 0)),
        ((Fraction(1, 2**1030), Fraction(1, 2**1074)), (Fraction(1, 3 * 2**1030), Fraction(1, 2**1074))),
    ],
)
def test_radii_of_differences_hold_both_balls(one: Any, other: Any) -> None:
    def ball(centre: Fraction | int, radius: Fraction | int) -> arb:
        x = Fraction(centre)
        with flint_precision(1200):
            return arb((arb(x.numerator) / x.denominator).mid(), arb(Fraction(radius).numerator) / radius.denominator)

    balls = ball(*one), ball(*other)
    gap, radius = difference(*(planted(x) for x in balls))
    centres, radii = ([exact_fraction(part(x)) for x in balls] for part in (arb.mid, arb.rad))
    off = abs(centres[0] - centres[1] - Fraction(float(gap[0, 0])))
    assert off + radii[0] + radii[1] <= Fraction(float(radius[0, 0]))
