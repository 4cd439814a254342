"""From bounds on weights to bounds on outputs: every term by itself, against the worst that its model allows.

The model: numerator and Z are sums of w_t + dw_t with |dw_t| <= moved_t, each added up with errors of at most spread
times size and an absolute one; the quotient is rounded.  Errors that attain its worst case are written out as rationals
here, so that a term that is forgotten, or too small, is exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from verify.bounds import RoundingBound, WeightBound, accumulated, accumulated_probably, rounding_bound
from verify.bounds.outputs import _EVALUATION
from verify.bounds.unit import LAMBDA, compounded
from verify.numbers.arithmetic import ARITHMETICS, LIBRARY, Arithmetic
from verify.numbers.formats import FORMATS
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem

# Sums whose roundings are far below everything else here.
FINE = ARITHMETICS["float64"]
# What bounds are enlarged by for their own evaluation, and as much again for the difference of two float64 sums.
EVALUATION = Fraction(1, 2**29)


def mixed(**formats: str) -> Arithmetic:
    """Return an arithmetic in float64 but for some formats."""
    named = {"inputs": "float64", "factors": "float64", "sums": "float64", "output": "float64"} | formats
    return Arithmetic("mixed", *(FORMATS[named[name]] for name in ("inputs", "factors", "sums", "output")))


def bound_of(*given: Any, **named: Any) -> Fraction:
    """Return the bound on one output with given weights, as `bounds_of` takes them; an infinite one is an error."""
    found = bounds_of(*given, **named).sure
    return Fraction(float(found[0, 0]))


def bounds_of(
    v: Sequence[float],
    weights: Sequence[float],
    moved: Sequence[float] | None = None,
    *,
    y: Fraction | None = None,
    arithmetic: Arithmetic = FINE,
    size: Sequence[float] | None = None,
    **rest: Any,
) -> RoundingBound:
    problem = Problem([[0.0]], np.zeros((len(v), 1)), np.array(v, float)[:, None])
    off = [0.0] * len(v) if moved is None else moved
    given = {"spread": 0.0, "evaluation": 0.0, "overflows": False} | rest
    sizes = [abs(w) + m for w, m in zip(weights, off, strict=True)] if size is None else size
    w, m, a = (np.array([x], float) for x in (weights, off, sizes))
    exact = output(v, weights) if y is None else y
    return rounding_bound(problem, np.array([[float(exact)]]), arithmetic, lambda pairs: WeightBound(w, m, a, **given))


def rational(numbers: Any) -> list[Fraction]:
    return [Fraction(x) for x in (numbers.tolist() if isinstance(numbers, np.ndarray) else numbers)]


def weighed(weights: list[Fraction], values: list[Fraction]) -> Fraction:
    return sum((w * x for w, x in zip(weights, values, strict=True)), Fraction())


def output(v: Any, weights: Any) -> Fraction:
    return weighed(rational(weights), rational(v)) / sum(rational(weights))


def assert_attained(bound: Fraction, error: Fraction, slack: Fraction = EVALUATION) -> None:
    assert abs(error) <= bound <= abs(error) * (1 + slack)


@pytest.mark.parametrize("off", [2.0**-20, 2.0**-3, 0.5])
def test_what_weights_are_off_by_moves_the_output_and_the_sum_it_is_divided_by(off: float) -> None:
    # y is the mean of v, so that |v_t - c| + |y - c| is |v_t - y|; the one weight that is off falls: Z is least
    v, weights = [0.0, 0.0, 0.0, 4.0], [1.0] * 4
    error = output(v, [1, 1, 1, 1 - Fraction(off)]) - output(v, weights)
    assert_attained(bound_of(v, weights, [0.0, 0.0, 0.0, off]), error)


def test_weights_are_off_about_the_mean_of_v() -> None:
    # |v_t - y| <= |v_t - c| + |y - c|: a large mean of v does not count, but the distance of y from it does
    v, weights, off = [1000.0, 1001.0, 1003.0], [1.0, 2.0, 5.0], [2.0**-6, 0.0, 2.0**-7]
    y, c, lost = output(v, weights), Fraction(3004, 3), Fraction(3, 2**7)
    attained = weighed(rational(off), [abs(x - c) for x in rational(v)]) + lost * abs(y - c)
    # the mean of v in float64 is off by 2^-53 of 1000, and counts for a part 2^-43 of the distances of about 1
    assert_attained(bound_of(v, weights, off), attained / (8 - lost))


@pytest.mark.parametrize("spread", [2.0**-20, 2.0**-4, 0.25])
def test_sums_are_off_in_numerator_and_normaliser(spread: float) -> None:
    # the numerator grows by g sum a |v|, Z falls by g sum a: y counts as much as v
    v, weights = [3.0, 1.0, 5.0], [1.0, 2.0, 1.0]
    numerator, z, g = Fraction(10), Fraction(4), Fraction(spread)
    error = numerator * (1 + g) / (z * (1 - g)) - numerator / z
    assert_attained(bound_of(v, weights, spread=spread), error)
    # sizes beyond the weights, as of sums that cancel: both errors grow with them
    error = (numerator + 2 * g * numerator) / (z - 2 * g * z) - numerator / z
    assert_attained(bound_of(v, weights, size=[2.0, 4.0, 2.0], spread=spread), error)


def test_what_underflow_takes_comes_with_any_v() -> None:
    # v = 1 and v = 0: the numerator gains it and Z loses it, whatever weights are
    v, weights, lost = [1.0, 0.0], [1.0, 1.0], 2.0**-8
    b = Fraction(lost) + 2 * Fraction(FORMATS["float64"].smallest)
    assert_attained(bound_of(v, weights, absolute=lost), (1 + b) / (2 - b) - Fraction(1, 2))


def test_products_with_v_may_each_lose_half_the_smallest_number() -> None:
    # and tiles of them once more: a smallest number for each of four keys, of a numerator of 16 and Z of 2^14 of them
    sums, result = FORMATS["float16"], FORMATS["float32"]
    v, weights = [2.0**-10] * 4, [2.0**-12] * 4
    b = 4 * Fraction(sums.smallest)
    quotient = (Fraction(1, 2**20) + b) / (Fraction(1, 2**10) - b)
    rounded = quotient * (1 + Fraction(1, 2**sums.precision)) * (1 + Fraction(1, 2**result.precision))
    half = (Fraction(sums.smallest) + Fraction(result.smallest)) / 2
    bound = bound_of(v, weights, arithmetic=Arithmetic("mixed", sums, sums, sums, result))
    assert_attained(bound, rounded + half - output(v, weights))


@pytest.mark.parametrize(
    ("sums", "result"),
    [("float16", "float16"), ("float16", "float32"), ("float32", "float16"), ("float32", "bfloat16")],
)
def test_the_quotient_is_rounded_to_sums_and_to_another_output(sums: str, result: str) -> None:
    arithmetic = mixed(inputs="float16", factors="float16", sums=sums, output=result)
    y = Fraction(3 / 7)
    s, o = (Fraction(1, 2 ** FORMATS[name].precision) for name in (sums, result))
    half = (Fraction(FORMATS[sums].smallest) + Fraction(FORMATS[result].smallest)) / 2
    # products with v may underflow as well, by a smallest number of sums for each of two keys, of Z = 2^10
    b = 2 * Fraction(FORMATS[sums].smallest)
    rounded = (1024 * y + b) / (1024 - b) * (1 + s) * (1 if sums == result else 1 + o)
    assert_attained(bound_of([float(y)] * 2, [512.0] * 2, arithmetic=arithmetic), rounded + half - y)


@pytest.mark.parametrize("result", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_an_output_between_two_of_the_smallest_numbers(result: str) -> None:
    # sums in float64 leave nothing but the rounding of the output: half of the smallest number, for y = half of it
    format_ = FORMATS[result]
    arithmetic = mixed(output=result)
    y = Fraction(format_.smallest) / 2
    error = abs(Fraction(float(format_.rounded(np.array(float(y) * 1.01)).astype(float))) - y)
    assert error == y
    bound = bound_of([float(y)], [1.0], y=y, arithmetic=arithmetic)
    # beside it y times the roundoff, which is at most 2^-3 here
    assert error <= bound <= error * (1 + Fraction(1, 2**format_.precision) + EVALUATION)


@pytest.mark.parametrize(("sums", "result"), [("float32", "float16"), ("float16", "float32")])
def test_outputs_that_rounding_may_take_beyond_the_largest_number_have_no_bound(sums: str, result: str) -> None:
    arithmetic = mixed(inputs="float16", factors="float16", sums=sums, output=result)
    largest = FORMATS["float16"].largest
    # half a step below the largest number, and the rounding of 2^-11 of it takes it beyond; twice that does not
    near, below = largest * (1 - 2.0**-12), largest * (1 - 2.0**-10)
    assert np.isinf(bounds_of([1.0], [1.0], y=Fraction(near), arithmetic=arithmetic).sure).all()
    assert np.isinf(bounds_of([1.0], [1.0], y=Fraction(-near), arithmetic=arithmetic).sure).all()
    assert np.isfinite(bounds_of([1.0], [1.0], y=Fraction(below), arithmetic=arithmetic).sure).all()


def test_a_sum_of_weights_that_may_vanish_leaves_no_bound() -> None:
    # each of these takes all of Z = 2 by itself, and half of each does not
    for share, finite in ((1.0, False), (0.5, True)):
        for taken in (
            bounds_of([1.0, 2.0], [1.0, 1.0], [2.0 * share, 0.0]),
            bounds_of([1.0, 2.0], [1.0, 1.0], spread=share),
            bounds_of([1.0, 2.0], [1.0, 1.0], absolute=2.0 * share),
            bounds_of([1.0, 2.0], [1.0, 1.0], evaluation=share),
            bounds_of([1.0, 2.0], [1.0, 1.0], overflows=not finite),
        ):
            assert np.isfinite(taken.sure).all() == finite


def test_weights_that_are_known_roughly_count_in_both_sums() -> None:
    # true weights within e of those given: the numerator of the bound by a factor 1 + e, and Z less e sum a
    v, weights, e, g = [3.0, 1.0], [1.0, 1.0], 2.0**-6, 2.0**-10
    worst = (1 + Fraction(e)) * 2 * Fraction(g) * 4 / (2 - (Fraction(g) + Fraction(e)) * 2)
    assert_attained(bound_of(v, weights, spread=g, evaluation=e), worst)


def test_the_formula_of_the_module_in_rationals() -> None:
    rng = np.random.default_rng(611)
    shares = []
    for _ in range(60):
        n = int(rng.integers(1, 9))
        v, w = rng.standard_normal((2, n)) * 10 ** rng.uniform(-3, 3)
        w = np.abs(w)
        m, a = w * rng.random(n) * 2.0**-8, w * (1 + rng.random(n))
        g, e, b = 2.0**-9 * rng.random(), 2.0**-12 * rng.random(), float(w.sum()) * 2.0**-10 * rng.random()
        y, c = output(v, w), sum(rational(v), Fraction()) / n
        z, lost, added = (sum(rational(x), Fraction()) for x in (w, m, a))
        near = weighed(rational(m), [abs(x - c) for x in rational(v)])
        far = weighed(rational(a), [abs(x) for x in rational(v)])
        spread, evaluation, absolute = rational((g, e, b))
        numerator = near + lost * abs(y - c) + spread * (far + added * abs(y)) + absolute * (1 + abs(y))
        relative = (1 + evaluation) * numerator / (z - lost - (spread + evaluation) * added - absolute)
        expected = relative + (abs(y) + relative) * Fraction(1, 2**53)
        found = bound_of(v, w, m, y=y, size=a, spread=g, evaluation=e, absolute=b)
        shares.append(found / expected)
    # the sums of float64 fall on either side of those of rationals, and the bound on neither
    assert min(shares) >= 1
    assert max(shares) <= 1 + EVALUATION


@pytest.mark.parametrize("count", [1, 3, 100])
@pytest.mark.parametrize("unit", [2.0**-4, 2.0**-8, 2.0**-24])
def test_roundings_add_up_to_no_more_than_their_factor(count: int, unit: float) -> None:
    # all in one direction, as factors or as divisors
    u = Fraction(unit)
    worst = max((1 + u) ** count - 1, 1 / (1 - u) ** count - 1)
    found = accumulated(count, unit)
    if count * unit >= 1:
        assert found == np.inf
        return
    # gamma_n / (1 / (1 - u)^n - 1) <= 1 / (1 - n u): second orders
    assert worst <= Fraction(found) * (1 + EVALUATION)
    assert Fraction(found) <= worst / (1 - count * u) * (1 + EVALUATION)
    assert compounded(count, unit) == pytest.approx(float((1 + u) ** count - 1), rel=1e-14)


def test_independent_roundings_add_up_as_hoeffding_says() -> None:
    # |sum of n logarithms| <= t + n u^2 / (1 - u) but for a probability of 2 exp(-t^2 (1 - u)^2 / (2 n u^2)): with
    # t = LAMBDA sqrt(n) u it is 2.5e-7 wherever u <= 2^-8
    with mpmath_precision(100):
        for count, unit in ((1, 2.0**-8), (50, 2.0**-8), (10_000, 2.0**-24)):
            exponent = mp.mpf("5.6") * mp.sqrt(count) * unit + mp.mpf(count) * unit**2 / (1 - mp.mpf(unit))
            assert accumulated_probably(count, unit) == pytest.approx(float(mp.expm1(exponent)), rel=1e-13)
            fails = 2 * mp.exp(-(mp.mpf(LAMBDA) ** 2) * (1 - mp.mpf(unit)) ** 2 / 2)
            # (1 - u)^2 of 15.68 in the exponent is at most 0.13 below it
            assert 1e-7 < fails < 3.6e-7


def test_exp_and_log_of_the_library_are_within_what_is_taken_for_them() -> None:
    # numpy allows its exp and log 4 units in the last place, which are 8 unit roundoffs of results just below a power
    # of two; measured, in unit roundoffs, on arguments whose results fill an octave and more
    assert LIBRARY == 4 * 2
    x = np.linspace(-20.0, 3.0, 40_001).astype(np.float32)
    for function, arguments in ((np.exp, x), (np.log, np.exp(x))):
        exact = function(arguments.astype(np.float64))
        found = function(arguments).astype(np.float64)
        off = np.abs(found - exact)[exact != 0] / np.abs(exact)[exact != 0]
        assert 2.0**-25 < off.max() < LIBRARY * 2.0**-24


def test_a_bound_makes_up_for_its_own_evaluation() -> None:
    """A sum of positive numbers loses a rounding of float64 for each at most: of a million, less than is added."""
    assert 2**20 * 2.0**-53 <= _EVALUATION - 1.0 <= 2.0**-29


@pytest.mark.parametrize("n", [2, 6])
def test_weights_that_cancel_in_float64_bound_nothing(n: int) -> None:
    """Z is known to (n + 2) 2^-53 of the sum of sizes, and an output where it may be 0 has no bound."""
    ones = [1.0, -1.0] * (n // 2 - 1)
    for z, finite in ((n * (n + 1) * 2.0**-53, False), (n * (n + 3) * 2.0**-53, True)):
        found = bounds_of([1.0] * n, [*ones, 1.0, -1.0 + z], y=Fraction(1)).sure
        assert np.isfinite(found).all() == finite
