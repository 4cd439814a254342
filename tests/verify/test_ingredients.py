"""Proven relative errors of polynomials and tables in place of powers: known values, sampling, planted errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from math import factorial, inf

import numpy as np
import pytest
from mpmath import mp, mpf

from verify.errors import CertificationError
from verify.ingredients import Target, maximum, read_base, read_target
from verify.ingredients.maximum import AGREEMENT, ErrorRange, Extreme, proven_error
from verify.ingredients.polynomial import Piece, Polynomial, read_polynomial
from verify.ingredients.published import FLASH_ATTENTION_4, PUBLISHED
from verify.ingredients.table import Table
from verify.numbers.intervals import Interval, exponential

DIGITS = 120  # of mpmath, far beyond any error here

# Maximum relative errors on [0, 1) as they were told before anything here was written.
TOLD = {1: "3.88e-2", 2: "2.08e-3", 3: "8.77e-5", 4: "3.01e-6", 5: "9.97e-8"}
PROVED = {1: "3.875e-02", 2: "2.076e-03", 3: "8.763e-05", 4: "2.990e-06", 5: "8.535e-08"}


def target(range_: str = "0:1", base: str = "2") -> Target:
    return read_target(range_, read_base(base))


def proven(text: str, range_: str = "0:1", base: str = "2") -> ErrorRange:
    asked = target(range_, base)
    return proven_error(read_polynomial(text).pieces(asked), asked)


def exact(x: Fraction) -> mpf:
    return mpf(x.numerator) / x.denominator


def error_at(piece: Piece, asked: Target, x: mpf) -> mpf:
    """p(x) / b^x - 1 by mpmath, from its definition."""
    base = mp.e if asked.base is None else exact(asked.base)
    powers = ((x - exact(piece.origin)) ** i for i in range(len(piece.coefficients)))
    return mp.fsum(exact(c) * power for c, power in zip(piece.coefficients, powers, strict=True)) / base**x - 1


def objection(found: ErrorRange, pieces: tuple[Piece, ...], asked: Target, points: int = 40) -> str:
    """What dense sampling, refined by parabolas through three points, has against a proven range; nothing if empty."""
    with mp.workdps(DIGITS):
        least, most = mpf(inf), mpf(-inf)
        for piece in pieces:
            low, high = exact(piece.low), exact(piece.high)
            for i in range(points + 1):
                x, step = low + (high - low) * i / points, (high - low) / points
                for _ in range(6):
                    value = error_at(piece, asked, x)
                    least, most = min(least, value), max(most, value)
                    if not low < x < high:
                        break
                    step = min(step / 8, x - low, high - x)
                    before, after = (error_at(piece, asked, x + way * step) for way in (-1, 1))
                    bend = before - 2 * value + after
                    x = min(high, max(low, x + (step * (before - after) / (2 * bend) if bend else 0)))
        close = mpf(10) ** -6 * max(abs(least), abs(most))
        for name, end, sampled, sign in (("least", found.least, least, -1), ("most", found.most, most, 1)):
            inner, outer = (end.upper, end.lower) if sign < 0 else (end.lower, end.upper)
            if sign * (sampled - mpf(outer)) > 0:
                return f"{name} is beyond {outer}: {mp.nstr(sampled, 12)}"
            if sign * (mpf(inner) - sampled) > close:
                return f"{name} does not reach {inner}: {mp.nstr(sampled, 12)}"
            if abs(mpf(outer) - mpf(inner)) > close:
                return f"{name} is not told to six digits: {end}"
    return ""


@pytest.mark.parametrize("degree", sorted(FLASH_ATTENTION_4))
def test_polynomials_of_flash_attention_4(degree: int) -> None:
    asked = target("[0:1)")
    pieces = PUBLISHED[f"fa4:{degree}"].pieces(asked)
    found = proven_error(pieces, asked)
    assert objection(found, pieces, asked) == ""
    assert {f"{end:.3e}" for end in (found.largest.lower, found.largest.upper)} == {PROVED[degree]}
    assert found.largest.upper <= float(TOLD[degree])


@pytest.mark.parametrize("degree", sorted(FLASH_ATTENTION_4))
def test_what_was_told_of_them_is_a_bound_by_means_on_4096_equal_cells(degree: int) -> None:
    """|g(c)| + h max |g'| on each cell, rounded up: it exceeds the largest error by h^2 |g''|, up to 1.4e-8."""
    coefficients = np.array([*map(float, FLASH_ATTENTION_4[degree])])
    half = 2.0**-13
    centre = half * np.arange(1, 2**13, 2)
    p, slope, bend = (np.polynomial.Polynomial(coefficients).deriv(order) for order in (0, 1, 2))
    rate = np.log(2.0)
    value = p(centre) / 2.0**centre - 1.0
    # |p' - rate p| on the cell, each term by itself at its largest; 2^-x is at its largest at the left end
    reach = np.abs(slope(centre) - rate * p(centre)) + half * (bend(centre + half) + rate * slope(centre + half))
    bound = (np.abs(value) + half * reach * 2.0 ** -(centre - half)).max()
    assert rounded_up(float(bound)) == Decimal(TOLD[degree])
    assert proven_error(PUBLISHED[f"fa4:{degree}"].pieces(target()), target()).largest.upper <= bound


def rounded_up(x: float) -> Decimal:
    """Return a number with three digits that is not below it."""
    exactly = Decimal(x)
    return exactly.quantize(Decimal(1).scaleb(exactly.adjusted() - 2), rounding=ROUND_CEILING)


def four_steps() -> Table:
    """2^x in the middle of each quarter of [0, 1]."""
    with mp.workdps(DIGITS):
        steps = [mp.nstr(2 ** (mpf(2 * i + 1) / 8), 60) for i in range(4)]
    return Table(tuple(Fraction(i, 4) for i in range(5)), tuple((Fraction(step),) for step in steps))


def best_line() -> Polynomial:
    """(1 - E) (1 + x), of which the error on [0, 1] is -E, E, -E at 0, 1 / ln 2 - 1 and 1."""
    with mp.workdps(DIGITS):
        slope = Fraction(mp.nstr(1 - line_error(), 60))
    return Polynomial((slope, slope))


def line_error() -> mpf:
    m = 2 / (mp.e * mp.log(2))
    return (m - 1) / (m + 1)


# Largest errors that a formula gives.
KNOWN: dict[str, tuple[Polynomial | Table, str, str, Callable[[], mpf]]] = {
    "1": (read_polynomial("1"), "0:1", "2", lambda: mpf(1) / 2),
    "1 to base 10": (read_polynomial("1"), "-1:0.5", "10", lambda: mpf(9)),
    "1 to base 1/2": (read_polynomial("1"), "0:3", "0.5", lambda: mpf(7)),
    "1 + x": (read_polynomial("1+x"), "0:1", "e", lambda: 1 - 2 / mp.e),
    "x": (read_polynomial("x"), "1:3", "e", lambda: 1 - 3 * mp.exp(-3)),
    "nothing": (read_polynomial("0"), "-4:4", "10", lambda: mpf(1)),
    "the best line": (best_line(), "0:1", "2", line_error),
    "four steps": (four_steps(), "0:1", "2", lambda: 2 ** (mpf(1) / 8) - 1),
    "exp cut after x^30": (
        Polynomial(tuple(Fraction(1, factorial(i)) for i in range(31))),
        "0:1",
        "e",
        lambda: mp.exp(-1) * mp.nsum(lambda k: 1 / mp.factorial(k), [31, mp.inf]),
    ),
}


@pytest.mark.parametrize("name", list(KNOWN))
def test_known_values(name: str) -> None:
    ingredient, range_, base, value = KNOWN[name]
    asked = target(range_, base)
    largest = proven_error(ingredient.pieces(asked), asked).largest
    with mp.workdps(DIGITS):
        assert largest.lower * (1 - 1e-15) <= value() <= largest.upper * (1 + 1e-15)
        assert largest.upper - largest.lower <= 1e-9 * value()


CASES = [
    ("1+0.7*x+0.2*x^2", "0:1", "2"),
    ("1+x+x^2/2+x^3/6", "-3:2", "e"),
    ("0.99,2.3,2.6,2", "-0.25:0.5", "10"),
    ("1-0.7*x+0.25*x^2", "(0:2]", "0.5"),
    ("x^2-0.25", "-1:1", "e"),
    ("1+x+1/2*x^2+1/6*x^3+1/24*x^4", "-0.34657359:0.34657359", "e"),
    ("1e-3*x^9-x", "-2:5", "3"),
]


@pytest.mark.parametrize(("text", "range_", "base"), CASES)
def test_sampling_has_nothing_against_what_is_proved(text: str, range_: str, base: str) -> None:
    asked = target(range_, base)
    pieces = read_polynomial(text).pieces(asked)
    assert objection(proven_error(pieces, asked), pieces, asked) == ""


@pytest.mark.parametrize("seed", range(6))
def test_tables_of_any_pieces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    breakpoints = (-1.0, *np.sort(rng.uniform(-1.0, 1.0, 5)).tolist(), 1.0)
    coefficients = tuple(tuple(map(Fraction, rng.normal(1.0, 0.3, 1 + seed % 4).tolist())) for _ in range(6))
    table = Table(tuple(map(Fraction, breakpoints)), coefficients, local=seed % 2 == 1)
    asked = target("-0.9:0.95")
    pieces = table.pieces(asked)
    assert objection(proven_error(pieces, asked), pieces, asked, points=12) == ""
    x = np.linspace(-0.89, 0.94, 200)
    inside = [next(piece for piece in reversed(pieces) if piece.low <= Fraction(at)) for at in x.tolist()]
    expected = [
        float(sum(c * (Fraction(at) - piece.origin) ** i for i, c in enumerate(piece.coefficients)))
        for at, piece in zip(x.tolist(), inside, strict=True)
    ]
    np.testing.assert_allclose(table.values(x), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("text", "range_", "base"), [case for case in CASES if case[2] == "e"])
def test_what_is_attained_is_so_by_rational_arithmetic_alone(text: str, range_: str, base: str) -> None:
    found = proven(text, range_, base)
    for end, sign in ((found.least, -1), (found.most, 1)):
        x, p = Fraction(end.at), Fraction(0)
        for c in reversed(read_polynomial(text).coefficients):
            p = p * x + c
        error = exponential(Interval(-x, -x), 100) * p - 1
        inner = end.lower if sign > 0 else -end.upper
        assert max(error.low * sign, error.high * sign) >= Fraction(inner)


def test_planted_errors_are_objected_to() -> None:
    asked = target()
    pieces = PUBLISHED["fa4:3"].pieces(asked)
    found = proven_error(pieces, asked)
    assert objection(found, pieces, asked) == ""
    most, least = found.most, found.least
    planted = {
        "an upper bound halved": replace(found, most=replace(most, lower=most.lower / 2, upper=most.upper / 2)),
        "a lower bound halved": replace(found, least=replace(least, lower=least.lower / 2, upper=least.upper / 2)),
        "attained twice as much": replace(found, most=replace(most, lower=most.lower * 2, upper=most.upper * 2)),
        "told to three digits": replace(found, most=replace(most, upper=most.upper * 1.001)),
    }
    for name, wrong in planted.items():
        assert objection(wrong, pieces, asked) != "", name
    first, second, *others = pieces[0].coefficients
    for changed in ((first, second * (1 + Fraction(1, 10**7)), *others), (first, second, others[1], others[0])):
        wrong = proven_error((replace(pieces[0], coefficients=changed),), asked)
        assert objection(wrong, pieces, asked) != ""


def test_bounds_agree_and_neither_end_matters() -> None:
    for range_ in ("0:1", "[0:1)", "(0:1]", "(0:1)"):
        found = proven("1+0.7*x+0.2*x^2", range_)
        assert found == proven("1+0.7*x+0.2*x^2")
        assert found.largest.upper - found.largest.lower <= float(AGREEMENT) * found.largest.upper * 1.001


@pytest.mark.parametrize(
    ("text", "range_", "sign"),
    [
        ("1-x", "0:3", -1),
        ("0", "0:1", -1),
        ("x^100", "0:1", -1),
        ("x^100", "-1:0", -1),
        ("3+x", "0:1", 1),
        ("1e-6", "0:1", 1),
    ],
)
def test_zero_and_negative_are_told(text: str, range_: str, sign: int) -> None:
    found = proven(text, range_)
    assert (found.nonpositive, found.positive) == (sign < 0, sign > 0)


@pytest.mark.parametrize("text", ["x^2-2/3x+1/9", "x^2-0.6666666666666666*x+0.1111111111111111"])
def test_what_touches_zero_or_nearly_is_neither(text: str) -> None:
    found = proven(text)
    assert not found.positive
    assert not found.nonpositive
    assert found.least.at == pytest.approx(Fraction(1, 3), abs=1e-4)


def test_an_error_that_needs_more_precision_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    taylor = Polynomial(tuple(Fraction(1, factorial(i)) for i in range(61)))  # off by 7e-85 of itself
    asked = target("0:1", "e")
    assert proven_error(taylor.pieces(asked), asked).largest.upper < 1e-84
    monkeypatch.setattr(maximum, "MAX_BITS", 256)
    with pytest.raises(CertificationError, match="more than 256 bits"):
        proven_error(taylor.pieces(asked), asked)


def test_an_extreme_that_may_be_zero_is_told_as_zero() -> None:
    assert Extreme(-1e-12, 0.0, Fraction(0)).value == 0.0
    assert Extreme(1.0, 2.0, Fraction(0)).value == 2.0
    assert Extreme(-2.0, -1.0, Fraction(0)).value == -2.0
