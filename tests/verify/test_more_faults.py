"""More faults found by attack: F7 to F11 of the list that `test_faults` begins."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import comb, factorial
from typing import Any, cast

import numpy as np
import pytest
from mpmath import mp

import verify
from verify.errors import InvalidRequestError
from verify.families import costs
from verify.families.polynomial import basis
from verify.measure import decomposition
from verify.measure.decomposition import Decomposer
from verify.measure.exact import Exact
from verify.measure.metrics import computed_error, doubt_of
from verify.mechanisms import named_member, named_variant
from verify.mechanisms.logexp.costs import logexp_state_size
from verify.mechanisms.softmax.costs import as_softmax
from verify.mechanisms.taylor import account, output_bound, positivity_radius, relative_truncation
from verify.mechanisms.taylor.costs import flops_per_token, state_size
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.formats import FORMATS, stored_bytes
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.problem import Problem
from verify.recommend import recommend
from verify.truth import certify, defined_attention, reference

# Each function with whole numbers that NumPy's 32 bits would wrap at, and the right value by other arithmetic.
COUNTS: list[tuple[Any, tuple[int, ...], Any]] = [
    (flops_per_token, (64, 7), sum((4 * 64 + 2 * p + 4) * comb(63 + p, p) for p in range(8))),
    (flops_per_token, (64, 7), 364103615172),
    (basis.dense_feature_count, (64, 12), 4797324681010433232961),
    (basis.feature_count, (64, 30), factorial(94) // factorial(64) // factorial(30)),
    (basis.degree_feature_count, (128, 20), factorial(147) // factorial(127) // factorial(20)),
    (basis.slice_lengths, (3, 30), [1, 30, 465]),
    (basis.multiplicities, (2, 30), [comb(30, i) for i in range(31)]),
    (basis.monomial_indices, (2, 3), [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]),
    (basis.alpha, (40, 64), basis.Alpha(factorial(40) * 8**40, 1)),
    (basis.unrank, (2**31 - 1, 2), (2**31 - 1 - comb(65536, 2), 65535)),
    (basis.lexicographic_unrank, (0, 64, 20), (0,) * 20),
    (state_size, (128, 20), 129 * comb(148, 20)),
    (costs.kv_cache_size, (2**30, 2**16), 2**47),
    (costs.conventional_flops_per_token, (2**30, 2**16), 2**30 * (4 * 2**16 + 3)),
    (costs.script_flops_per_token, (2**30, 2**16), 6 * 2**46),
    (costs.nearest, (2**31 - 1, 2), 2**30),
    (logexp_state_size, (2**16, 2**16), 2**16 * (2**16 + 1)),
    (lambda n, d: as_softmax(n, d, d).multiplications, (2**30, 2**16), 2**30 * (2**17 + 1)),
    (lambda d, n: account.as_published(d, n, d).update.additions, (128, 20), 129 * comb(148, 20)),
    (lambda d, n: account.charged(d, n, d).read, (128, 20), 2 * 129 * comb(148, 20) + comb(148, 20) - 1),
    (lambda d, n: account.as_packed(d, n, d).update.additions, (64, 7), 65 * comb(71, 7)),
    (lambda d, n: account.as_own_pairs(d, n, d, 2**30).divisions, (64, 7), 7 * 2**30),
    (lambda n: stored_bytes(n, FORMATS["float64"]), (2**30,), 2**33),
]


@pytest.mark.parametrize("kind", [int, np.int32, np.int64, np.uint32, lambda x: np.array(x, dtype=np.int64)])
@pytest.mark.parametrize(("count", "arguments", "expected"), COUNTS)
def test_f7_numpy_integers_never_wrap(count: Any, arguments: tuple[int, ...], expected: Any, kind: Any) -> None:
    assert count(*map(kind, arguments)) == expected


@pytest.mark.parametrize("wrong", [2.5, True, -5, np.bool_(True), "3", np.float64(2), Fraction(2), [3]])
@pytest.mark.parametrize(("count", "arguments", "expected"), COUNTS)
def test_f7_what_is_no_count_is_refused(count: Any, arguments: tuple[int, ...], expected: Any, wrong: Any) -> None:
    for place in range(len(arguments)):
        with pytest.raises(InvalidRequestError) as raised:
            count(*arguments[:place], wrong, *arguments[place + 1 :])
        assert "\n" not in str(raised.value)


def test_f7_indices_of_monomials() -> None:
    large, small, size, wrongs = cast(
        tuple[Any, Any, Any, list[Any]],
        (np.full(2, 10**5, np.int32), np.zeros(20, np.int8), np.int8(64), [[2.5], [-1], [True], [1, 0]]),
    )
    assert basis.rank(large) == 10**5 + comb(10**5 + 1, 2)
    assert basis.lexicographic_rank(small, size) == 0
    for wrong in wrongs:
        with pytest.raises(InvalidRequestError, match="expected 0 <= i1 <= "):
            basis.rank(wrong)


def exact_gaps(problem: Problem, one: str, other: str, digits: int) -> list[Any]:
    """Return differences of exact values, certified to far more digits than those that are compared with them."""
    pair = (reference(problem, digits, member).to_mpf() for member in (one, other))
    with mpmath_precision(6000):
        return [a - b for a, b in zip(*(values.flat for values in pair), strict=True)]


@pytest.mark.parametrize("size", [0.3, 0.01, 1e-4])
def test_f8_the_doubt_holds_where_an_error_counts_as_nothing(size: float) -> None:
    rng = np.random.default_rng(8)
    q, k, v = rng.standard_normal((3, 5, 4))
    problem = Problem(size * q, k, v)
    members = [named_member(f"taylor:order={order}") for order in range(0, 90, 8)]
    exact = Exact(problem, members)
    decomposer = Decomposer(exact.truths, exact.truths)
    nothing = 0
    for member in members:
        error, doubt = decomposer.gaps(member)["formula"]
        with mpmath_precision(6000):
            gaps = exact_gaps(problem, member.name, "softmax", 500)
            for found, off, gap in zip(error.flat, doubt.flat, gaps, strict=True):
                assert abs(mp.mpf(float(found)) - gap) <= mp.mpf(float(off))
                nothing += found == 0.0
    assert nothing  # some errors are below what they are known to


def test_f8_the_doubt_of_a_computed_output_near_the_exact_one() -> None:
    # the output is 1 + e^-s / (1 + e^-s), and 1 was computed: the error is about as large as the radius at s = 122
    seen = set()
    for s in np.arange(100.0, 140.0, 0.25).tolist():
        problem = Problem([[s]], [[0.0], [-1.0]], [[1.0], [2.0]], scale=1.0)
        truths = decomposition.Truths(problem, [named_member("softmax")])
        part = Decomposer(truths, truths).of(np.array([[1.0]]), named_member("softmax")).parts["total"]
        with mpmath_precision(600):
            exact = -mp.exp(-s) / (1 + mp.exp(-s))
            assert abs(mp.mpf(part.error[0, 0]) - exact) <= mp.mpf(part.doubt[0, 0])
            assert mp.mpf(part.least[0, 0]) <= abs(exact)
        seen.add(part.error[0, 0] == 0.0)
    assert seen == {True, False}


def test_f8_the_doubt_of_a_difference() -> None:
    error, radius = np.array([0.0, 3.0, -1.0, np.inf]), np.array([0.5, 0.5, 0.0, 0.5])
    found = doubt_of(error, radius)
    assert found[0] == 1.0
    assert 0.5 + 3 * 2.0**-53 < found[1] < 0.5 + 2.0**-47
    assert found[2] == 0.0
    assert found[3] == np.inf


def narrow(rng: np.random.Generator, causal: bool) -> Problem:
    n, d = int(rng.integers(1, 40)), int(rng.integers(1, 4))
    q, k, v = 1.5 * rng.standard_normal((3, n, d))
    return Problem(q, k, v, causal=causal).rounded(FORMATS["bfloat16"])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("form", ["packed:chunk=1", "packed:chunk=3", "packed", "stream"])
def test_f9_bounds_know_the_options_of_a_form(form: str, order: int, causal: bool) -> None:
    rng = np.random.default_rng(order)
    options = ["", "side=key", "side=both", "degrees=apart", "storage=bfloat16", "compensated=yes"]
    for option in options:
        name = form + (("," if ":" in form else ":") + option if option else "")
        variant = named_variant(f"taylor:order={order}/{name}")
        for arithmetic in map(named_arithmetic, ("bfloat16+float32", "float16+float32", "bfloat16")):
            problem = narrow(rng, causal)
            exact = reference(problem, 30, variant.member)
            bound = variant.rounding_bound(problem, exact.value, arithmetic)
            assert bound is not None
            error = np.abs(computed_error(variant.run(problem, arithmetic).value, exact))
            assert (error <= bound.sure).all(), (name, arithmetic.name)


@pytest.mark.parametrize("name", ["logexp/stream:chunk=1", "elu/stream:chunk=1", "softmax/online:keys=1"])
@pytest.mark.parametrize("causal", [False, True])
def test_f9_bounds_know_the_options_of_other_forms(name: str, causal: bool) -> None:
    rng, variant = np.random.default_rng(9), named_variant(name)
    for arithmetic in map(named_arithmetic, ("bfloat16+float32", "float16+float32", "bfloat16", "float16")):
        for _ in range(8):
            problem = narrow(rng, causal)
            exact = reference(problem, 30, variant.member)
            bound = variant.rounding_bound(problem, exact.value, arithmetic)
            assert bound is not None
            error = np.abs(computed_error(variant.run(problem, arithmetic).value, exact))
            assert (error <= bound.sure).all(), arithmetic.name


def exponential_sum(order: int, x: Any) -> Any:
    """Return T_N(x) by mpmath, term by term."""
    term = total = mp.one
    for p in range(1, order + 1):
        term = term * x / p
        total += term
    return total


@pytest.mark.parametrize("digits", [1, 5, 30, 300, 1000])
@pytest.mark.parametrize("order", [3, 319, 647, 999])
def test_f10_zeros_of_odd_orders(order: int, digits: int) -> None:
    start = time.perf_counter()
    ball = positivity_radius(order, digits)
    assert time.perf_counter() - start < 2.0
    assert ball is not None
    assert ball.rad() < 10.0 ** -min(digits, 300)
    with (
        mpmath_precision(8000),
        flint_precision(8000),
    ):  # terms are below exp(300), and a step of 10^-1000 moves the sum by more than 10^-1200
        low, high = (mp.ldexp(int(m), int(e)) for m, e in (end.man_exp() for end in (ball.lower(), ball.upper())))
        assert exponential_sum(order, -low) > 0 > exponential_sum(order, -high)
        assert high - low <= 2.01 * mp.mpf(10) ** -digits


def test_f10_orders_and_digits_are_checked() -> None:
    assert positivity_radius(1000) is None
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"order": 1001}, "order 1001; expected an integer from 0 to 1000"),
        ({"digits": 2.5}, "digits 2.5"),
    ]
    wrong += [({"digits": True}, "digits True"), ({"digits": 0}, "digits 0; expected an integer from 1 to 1000")]
    for arguments, message in wrong:
        with pytest.raises(InvalidRequestError, match=message):
            positivity_radius(**{"order": 3} | arguments)
    asks: list[Callable[[], float]] = [
        lambda: relative_truncation(100000, 1.5),
        lambda: output_bound(-1.0, 1.0, 100000),
    ]
    for ask in asks:
        with pytest.raises(InvalidRequestError, match="order 100000; expected an integer from 0 to 1000"):
            ask()


EXACT = [0.5, 2, np.float32(0.1), np.float16(0.1), np.int64(3), np.array(0.25), Fraction(3, 8), Decimal("0.375")]


@pytest.mark.parametrize("scale", [*EXACT, np.longdouble(0.1), FORMATS["bfloat16"].dtype.type(0.1)])
def test_f11_a_scale_that_float64_holds_is_taken(scale: Any) -> None:
    held = Problem([[1.0]], [[1.0]], [[1.0]], scale=scale).scale
    assert type(held) is float
    assert held == (scale if isinstance(scale, Fraction | Decimal) else float(scale))


NO_SCALES = ["0.1", "0.5", True, [0.5], 1j, np.nan, np.inf, Decimal("NaN"), Decimal("1e400"), 10**400, 2**53 + 1]


@pytest.mark.parametrize("scale", [Fraction(1, 3), Decimal("0.1"), np.longdouble("0.1"), *NO_SCALES])
def test_f11_a_scale_that_float64_does_not_hold_is_refused(scale: Any) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"scale .*; expected a finite number that float64 holds exactly; leave"
    ):
        Problem([[1.0]], [[1.0]], [[1.0]], scale=scale)


@pytest.mark.parametrize("digits", [2.5, True, "30", None, 0, -1, 1001, np.float64(30)])
def test_f11_digits_are_whole_numbers(digits: Any) -> None:
    problem = Problem([[1.0]], [[1.0]], [[1.0]])
    for ask in (reference, certify):
        with pytest.raises(
            InvalidRequestError, match=re.escape(f"digits {digits!r}; expected an integer from 1 to 1000")
        ):
            ask(problem, digits)
    if digits != 1001:
        with pytest.raises(InvalidRequestError, match=r"digits .*; expected an integer of at least 1"):
            defined_attention(problem, "softmax", digits)
    five: Any = np.int32(5)
    asked = reference(problem, five).asked
    assert asked == 5
    assert type(asked) is int


def test_f11_other_requests_of_wrong_types() -> None:
    problem = Problem([[1.0]], [[1.0]], [[1.0]])
    half, text, words = cast(tuple[Any, Any, Any], (2.5, "1e-3", ["rms"]))
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: recommend(problem, 1e-3, largest=half), "largest order 2.5; expected an integer from 0 to 63"),
        (lambda: recommend(problem, text), "tolerance '1e-3'; expected a number"),
        (lambda: recommend(problem, 1e-3, metric=words), r"unknown metric \['rms'\]; expected one of relative, rms"),
        (lambda: verify.feature_count(half, 3), "head size 2.5; expected an integer of at least 1; give the size"),
        (lambda: costs.kv_cache_size(-5, 8), "tokens -5; expected an integer of at least 0; correct it"),
    ]
    for ask, message in refused:
        with pytest.raises(InvalidRequestError, match=message):
            ask()


def test_f11_bounds_of_values_that_fill_float64_warn_of_nothing() -> None:
    member = named_member("taylor:order=2")
    problem = Problem([[0.5]], [[0.5], [-0.5]], [[1.7e308, 1.0], [-1.7e308, 2.0]], scale=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound = member.mechanism.formula_bound(problem, member)
    assert bound is not None
    assert bound[0, 0] == np.inf  # max v - min v is beyond float64
    gap = reference(problem, 30, member).value[0, 1] - reference(problem, 30).value[0, 1]
    assert abs(gap) <= bound[0, 1] < 1.0
