"""Balls kept as numbers: nothing is lost but the last of thirty bits of a radius, and that to the safe side."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp, mpf

from verify.numbers.balls import Balls
from verify.numbers.precision import flint_precision, mpmath_precision

CENTRES = ["0", "1", "-3", "0.1", "1e-310", "-1e-400", "1e400", "2e-2000"]
RADII = ["0", "1e-60", "1e-305", "1e-330", "1e-1500", "7e300", "1e400"]


def made(centres: list[str], radii: list[str]) -> Any:
    with flint_precision(700):
        return np.array([[arb(arb(c).mid(), arb(r).mid()) for r in radii] for c in centres], dtype=object)


@pytest.mark.parametrize("precision", [53, 300])
def test_balls_come_back(precision: int) -> None:
    arbs = made(CENTRES, RADII)
    balls = Balls.of(arbs)
    with flint_precision(precision):
        back = balls.arbs()
    with flint_precision(20_000):
        for one, other in zip(arbs.flat, back.flat, strict=True):
            assert (one.mid() - other.mid()).is_zero()
            assert one.rad() <= other.rad() <= one.rad() * (1 + arb(2) ** -28)


def test_float64_says_no_less_than_the_balls() -> None:
    arbs = made(CENTRES, RADII)
    balls = Balls.of(arbs)
    with mpmath_precision(20_000):
        for place, ball in np.ndenumerate(arbs):
            mantissa, exponent = ball.mid().man_exp()
            centre = mpf(int(mantissa)) * mpf(2) ** int(exponent)
            value, residual, radius = (float(x[place]) for x in (balls.value, balls.residual, balls.radius))
            mantissa, exponent = ball.rad().man_exp()
            assert mpf(int(mantissa)) * mpf(2) ** int(exponent) <= radius
            if np.isinf(value):
                assert residual == 0.0
                assert abs(centre) > mpf(np.finfo(np.float64).max)
            else:
                # two roundings to nearest, the second perhaps to the smallest number
                assert abs(centre - mpf(value) - mpf(residual)) <= abs(centre) * mpf(2) ** -106 + mpf(2) ** -1075
    assert balls.value[0].tolist() == [0.0] * len(RADII)
    assert (balls.radius[:, 0] == 0).all()


def test_what_is_not_finite_has_no_value() -> None:
    arbs = np.array([arb.nan(), arb("inf"), arb(1, arb("inf")), arb(2)], dtype=object)
    balls = Balls.of(arbs)
    assert balls.defined.tolist() == [False, False, False, True]
    for column in (balls.value, balls.residual, balls.radius):
        assert np.isnan(column).tolist() == [True, True, True, False]
    assert [ball.is_nan() for ball in balls.arbs()] == [True, True, True, False]


def test_balls_are_put_in_place() -> None:
    whole, part = Balls.zeros((2, 3)), Balls.of(made(["0.1"], ["0", "1e-9", "1e-400"]))
    whole.put((slice(1, 2), slice(None)), part)
    assert [str(whole.ball((1, j))) for j in range(3)] == [str(part.ball((0, j))) for j in range(3)]
    assert whole.ball((0, 2)).is_zero()
    assert mp.prec == 53


def test_radii_of_any_size_are_rounded_up() -> None:
    # thirty bits reach below the smallest float64 from 2**-1045 on, and the whole radius does from 2**-1074
    for exponent in (*range(-1110, -985), 0):
        with flint_precision(60):
            arbs = np.array([arb(1, (2**29 + more, exponent - 29)) for more in range(8)], dtype=object)
        balls = Balls.of(arbs)
        for place, ball in enumerate(arbs):
            radius, found = (
                int(mantissa) * Fraction(2) ** int(shift)
                for mantissa, shift in (x.rad().man_exp() for x in (ball, balls.ball((place,))))
            )
            assert Fraction(float(balls.radius[place])) >= radius
            assert radius <= found <= radius * (1 + Fraction(1, 2**28))
