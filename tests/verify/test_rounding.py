"""Correct rounding against independent accounts: a search among all numbers of a format, numpy and ml_dtypes."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from tests.cases import PROBLEMS, named
from verify.numbers.balls import Balls
from verify.numbers.formats import FORMATS, Format
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.numbers.rounding import UndecidedRoundingError, correctly_rounded
from verify.problem import Problem
from verify.truth import MAX_DIGITS, Reference, defined_attention, reference

NARROW = [format_ for format_ in FORMATS.values() if format_.width <= 16]
every_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS.keys())
every_narrow_format = pytest.mark.parametrize("format_", NARROW, ids=lambda format_: format_.name)


def patterns(format_: Format) -> np.ndarray[tuple[int], np.dtype[np.floating]]:
    unsigned = {8: np.uint8, 16: np.uint16}[format_.width]
    return np.arange(2**format_.width, dtype=np.uint32).astype(unsigned).view(format_.dtype)


def as_float64(values: Any) -> Any:
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
        return values.astype(np.float64)


@cache
def finite(name: str) -> list[float]:
    """Every finite number of a narrow format from the patterns of its numpy type, ascending, zero once."""
    values = as_float64(patterns(FORMATS[name]))
    return sorted(set(values[np.isfinite(values)].tolist()))


def found(exact: Fraction, format_: Format) -> float:
    """Round by looking among all numbers of the format, with one more step beyond the largest."""
    numbers = finite(format_.name)
    largest, below = Fraction(numbers[-1]), Fraction(numbers[-2])
    size = abs(exact)
    place = bisect_left(numbers, size)  # Fraction against float compares exactly
    if place == len(numbers):
        beyond = 2 * largest - below
        gap, left = beyond - largest, size - largest
        # the largest finite number has an odd significand where an infinity follows and an even one where a NaN does
        if 2 * left > gap or (2 * left == gap and format_.infinity):
            return math.copysign(math.inf if format_.infinity else math.nan, exact)
        return math.copysign(numbers[-1], exact)
    high = numbers[place]
    if high == size:
        return math.copysign(high, exact)
    low = numbers[place - 1]
    middle = (Fraction(low) + Fraction(high)) / 2
    if size == middle:
        spacing = Fraction(high) - Fraction(low)
        nearest = low if (Fraction(low) / spacing) % 2 == 0 else high
    else:
        nearest = low if size < middle else high
    return math.copysign(nearest, exact)


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))


@every_narrow_format
def test_every_pattern_round_trips(format_: Format) -> None:
    values = patterns(format_)
    for value in as_float64(values).tolist():
        assert same(correctly_rounded(value, format_), value)


@every_narrow_format
def test_every_midpoint_and_its_neighbourhood(format_: Format) -> None:
    numbers = [x for x in finite(format_.name) if x >= 0]
    beyond = 2 * Fraction(numbers[-1]) - Fraction(numbers[-2])
    overflow = math.inf if format_.infinity else math.nan
    tiny = Fraction(1, 10**40)
    for place, low in enumerate(numbers):
        # positive patterns are consecutive: a number is even if its place is
        last = place + 1 == len(numbers)
        high, shown = (beyond, overflow) if last else (Fraction(numbers[place + 1]), numbers[place + 1])
        middle = (Fraction(low) + high) / 2
        # the smallest numbers of bfloat16 lie below 10^-40: there the step has to be smaller than the gap
        step = min(tiny, (high - Fraction(low)) / 4)
        assert correctly_rounded(middle - step, format_) == low
        assert same(correctly_rounded(middle, format_), low if place % 2 == 0 else shown)
        assert same(correctly_rounded(middle + step, format_), shown)
        if step != tiny:
            for exact in (middle - tiny, middle + tiny):
                assert same(correctly_rounded(exact, format_), found(exact, format_))
        if place % 5 == 0:
            for exact in (middle - step, middle, middle + step):
                assert same(correctly_rounded(-exact, format_), -correctly_rounded(exact, format_))


@every_narrow_format
def test_agrees_with_a_search_among_all_numbers(format_: Format) -> None:
    rng = np.random.default_rng(20)
    exponents = rng.uniform(format_.min_exponent - format_.precision - 2, math.log2(format_.largest) + 1, 2000)
    for exponent, digits in zip(exponents.tolist(), rng.integers(1, 2**60, 2000).tolist(), strict=True):
        exact = Fraction(digits, 3**37) * Fraction(2) ** (math.floor(exponent) - 1)
        for signed in (exact, -exact):
            assert same(correctly_rounded(signed, format_), found(signed, format_))


@every_narrow_format
def test_agrees_with_ml_dtypes_on_float64(format_: Format) -> None:
    rng = np.random.default_rng(20)
    largest = math.log2(format_.largest)
    exponents = rng.uniform(format_.min_exponent - format_.precision - 2, largest + 1, 4000)
    values = rng.choice([-1.0, 1.0], 4000) * 2.0**exponents
    # through float32 is how some conversions round twice: numpy and ml_dtypes round float64 directly
    with np.errstate(over="ignore"):
        expected = values.astype(format_.dtype).astype(np.float64)
    assert all(same(correctly_rounded(x, format_), e) for x, e in zip(values.tolist(), expected.tolist(), strict=True))


def exact_values(rng: np.random.Generator, shifts: int) -> Iterator[Fraction]:
    for _ in range(3000):
        numerator = int(rng.integers(1, 2**62)) * int(rng.integers(1, 2**62))
        base = 2 if rng.random() < 0.5 else 3
        yield Fraction(numerator, base ** int(rng.integers(0, shifts)))


def test_float64_is_what_python_makes_of_a_quotient_of_integers() -> None:
    for exact in exact_values(np.random.default_rng(21), 1300):  # subnormals and zeros included
        expected = exact.numerator / exact.denominator
        assert correctly_rounded(exact, FORMATS["float64"]) == expected
        assert correctly_rounded(-exact, FORMATS["float64"]) == -expected


def test_float32_is_the_nearest_of_its_neighbours() -> None:
    for exact in exact_values(np.random.default_rng(22), 320):
        value = np.float32(correctly_rounded(exact, FORMATS["float32"]))
        around = (np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf)))
        below, gap, above = (abs(Fraction(float(x)) - exact) for x in around)
        assert gap < min(below, above) or (gap == min(below, above) and int(value.view(np.uint32)) % 2 == 0)


@every_format
def test_edges(format_: Format) -> None:
    smallest = Fraction(2) ** (format_.min_exponent - format_.precision + 1)
    largest = Fraction(format_.largest)
    top = Fraction(2) ** (math.frexp(format_.largest)[1] - format_.precision)  # spacing at the largest number
    overflow = math.inf if format_.infinity else math.nan
    cases = {
        Fraction(0): 0.0,
        smallest / 2: 0.0,  # a tie, and zero is even
        smallest / 2 + Fraction(1, 2**2000): float(smallest),
        -smallest / 2: -0.0,
        smallest * 3 / 2: 2 * float(smallest),
        largest: format_.largest,
        largest + top / 2 - Fraction(1, 2**2000): format_.largest,
        largest + top / 2: overflow if format_.infinity else format_.largest,
        largest + top / 2 + Fraction(1, 2**2000): overflow,
        largest * 2**3000: overflow,
        -largest * 2**3000: -overflow,
        Fraction(1, 2**5000): 0.0,
        Fraction(-1, 3**5000): -0.0,
    }
    for exact, expected in cases.items():
        assert same(correctly_rounded(exact, format_), expected), exact
    for special in (0.0, -0.0, math.nan):
        assert same(correctly_rounded(special, format_), special)
    assert same(correctly_rounded(math.inf, format_), overflow)
    assert same(correctly_rounded(-math.inf, format_), -overflow)


@every_format
def test_types_of_exact_values(format_: Format) -> None:
    exact = Fraction(7, 2**3) + Fraction(1, 2**90)
    with mpmath_precision(200), flint_precision(200):
        as_mpf = mp.mpf(exact.numerator) / exact.denominator
        as_arb = arb(exact.numerator) / exact.denominator
        for value in (exact, as_mpf, as_arb, -as_arb, -as_mpf):
            assert abs(correctly_rounded(value, format_)) == correctly_rounded(exact, format_)
        assert correctly_rounded(1, format_) == correctly_rounded(mp.mpf(1), format_) == 1.0
        assert same(correctly_rounded(mp.inf, format_), math.inf if format_.infinity else math.nan)
        assert math.isnan(correctly_rounded(mp.nan, format_))
        huge = mp.ldexp(1, 10**9)
        assert same(correctly_rounded(huge, format_), math.inf if format_.infinity else math.nan)
        assert same(correctly_rounded(-1 / huge, format_), -0.0)


@every_format
def test_a_ball_that_does_not_decide_says_so(format_: Format) -> None:
    tie = Fraction(1) + Fraction(1, 2**format_.precision)
    with flint_precision(300):
        middle = arb(tie.numerator) / tie.denominator
        below, above = (middle + arb(sign, 0) * arb(2) ** -100 for sign in (-1, 1))
        radius = arb(0, arb(2) ** -120)
        assert correctly_rounded(below + radius, format_) == 1.0
        assert correctly_rounded(above + radius, format_) == 1.0 + 2.0 ** (1 - format_.precision)
        assert correctly_rounded(middle, format_) == 1.0  # exact: a tie, to even
        with pytest.raises(UndecidedRoundingError, match="rounds to"):
            correctly_rounded(middle + radius, format_)
        with pytest.raises(UndecidedRoundingError):  # zero or minus zero
            correctly_rounded(arb(0, arb(2) ** -5000), format_)
        assert math.isnan(correctly_rounded(arb.nan(), format_))


def test_double_rounding_is_not_what_happens() -> None:
    # float64 rounds this to a tie of float32, which then goes to even, downwards; the value lies above the tie
    exact = Fraction(1) + Fraction(1, 2**24) + Fraction(1, 2**60)
    assert float(np.float32(float(exact))) == 1.0
    assert correctly_rounded(exact, FORMATS["float32"]) == 1.0 + 2.0**-23
    # and twice the same in the subnormal numbers of float64, which float(mpf) rounds to 53 bits first
    exact = Fraction(2**60 + 2**5 + 1, 2**1080 * 2**54)
    assert correctly_rounded(exact, FORMATS["float64"]) == exact.numerator / exact.denominator


@every_narrow_format
def test_a_planted_error_is_noticed(format_: Format) -> None:
    # the search must tell a rounding that goes up at ties, or truncates, from the right one
    one, following = 1.0, 1.0 + 2.0 ** (1 - format_.precision)
    middle = (Fraction(one) + Fraction(following)) / 2
    assert found(middle, format_) == one != following
    assert found(middle + Fraction(1, 10**40), format_) == following != one
    assert not same(math.nan, one)
    assert not same(-0.0, 0.0)


@every_format
@pytest.mark.parametrize(("mechanism", "order"), [("softmax", None), ("logexp", None), ("taylor", 3)])
def test_exact_outputs_in_a_format(mechanism: str, order: int | None, format_: Format) -> None:
    for problem in PROBLEMS:
        truth = reference(problem, 15, named(mechanism, order))
        rounded = truth.rounded(format_)
        assert rounded.dtype == format_.dtype
        finer = reference(problem, 200, named(mechanism, order))
        expected = [
            0.0 if absolute and abs(float(exact)) < format_.smallest / 2 else correctly_rounded(exact, format_)
            for exact, absolute in zip(finer.to_mpf().flat, finer.absolute.flat, strict=True)
        ]
        assert all(same(float(a), b) for a, b in zip(rounded.flat, expected, strict=True)), problem.name


def test_a_ball_around_a_tie_is_made_smaller() -> None:
    # a tie of float32, and a second key whose weight of 1e-35 decides on which side of it the output lies
    tie = 1.0 + 2.0**-24
    for other, expected in ((2.0, 1.0 + 2.0**-23), (0.5, 1.0)):
        problem = Problem([[1.0]], [[0.0], [-80.0]], [[tie], [other]], scale=1.0)
        truth = reference(problem, 15)
        with flint_precision(400), pytest.raises(UndecidedRoundingError):
            correctly_rounded(truth.balls.ball((0, 0)), FORMATS["float32"])
        assert truth.rounded(FORMATS["float32"]).tolist() == [[expected]]


def test_a_tie_that_no_ball_shows_is_decided_by_algebra() -> None:
    tie = 1.0 + 2.0**-24  # both keys weigh the same, and exp(0.1 / sqrt(3)) is no binary number: the ball has a width
    problem = Problem([[0.1, 0.2, 0.3]], [[1.0, 2.0, 3.0]] * 3, [[tie]] * 3)
    truth = reference(problem, 15)
    with flint_precision(400), pytest.raises(UndecidedRoundingError, match="rounds to"):
        correctly_rounded(truth.balls.ball((0, 0)), FORMATS["float32"])
    assert truth.rounded(FORMATS["float32"]).tolist() == [[1.0]]


def test_values_beyond_a_format_without_infinity_are_nan() -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 16, 8))
    rounded = reference(Problem(q, k, 1000 * v), 30).rounded(FORMATS["float8_e4m3fn"]).astype(np.float64)
    assert np.isnan(rounded).any()
    assert np.nanmax(np.abs(rounded)) <= 448


def widened(truth: Reference, radius: Fraction, centre: int | None = None) -> Reference:
    """Return the same exact values in wider balls, around their centres or around another number."""
    arbs = truth.balls.arbs()
    with flint_precision(300):
        more = arb(0, arb(radius.numerator) / radius.denominator)
        for place, ball in np.ndenumerate(arbs):
            arbs[place] = (ball if centre is None else arb(centre)) + more
    absolute = np.full(truth.absolute.shape, centre == 0)
    return dataclasses.replace(truth, balls=Balls.of(arbs), absolute=absolute)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "float64"])  # below whose numbers v has none
def test_essentially_zero_is_zero_below_half_the_smallest_number_only(name: str) -> None:
    # one key, whose value is the output: three quarters of the smallest number, which round to that
    format_ = FORMATS[name]
    value = Fraction(3, 4) * Fraction(format_.smallest)
    for sign in (1, -1):
        problem = Problem([[0.0]], [[0.0]], [[float(sign * value)]], scale=1.0)
        coarse = widened(reference(problem, 15), value, 0)
        with pytest.raises(UndecidedRoundingError):
            correctly_rounded(coarse.balls.ball((0, 0)), format_)
        assert coarse.rounded(format_).astype(np.float64).tolist() == [[sign * format_.smallest]]
    # below half of it nobody can tell the sign, and nobody needs to; beyond MAX_DIGITS nothing is enclosed again
    nothing = widened(reference(Problem([[0.0]], [[0.0]], [[0.0]]), 15), value / 2, 0)
    nothing = dataclasses.replace(nothing, asked=MAX_DIGITS)
    assert nothing.rounded(format_).astype(np.float64).tolist() == [[0.0]]


@pytest.mark.parametrize(("mechanism", "order"), [("softmax", None), ("logexp", None), ("taylor", 0), ("taylor", 3)])
def test_what_a_coarse_ball_leaves_open_is_enclosed_again_as_the_same_thing(mechanism: str, order: int | None) -> None:
    problem = PROBLEMS[1]
    truth = reference(problem, 15, named(mechanism, order))
    defined = defined_attention(problem, named(mechanism, order), 40)
    for name in ("float64", "float32", "bfloat16"):
        expected = [correctly_rounded(x, FORMATS[name]) for x in defined.flat]
        found = widened(truth, Fraction(1, 100)).rounded(FORMATS[name])
        assert found.astype(np.float64).ravel().tolist() == expected
