"""Faults found by attack, each with its right value by an account of its own: F1 to F11 of one list, in its order."""

from __future__ import annotations

import inspect
import subprocess
import sys
from fractions import Fraction
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from cli.reference import reference as reference_command
from tests.cases import named
from verify.errors import CertificationError, InvalidRequestError, TooLargeError
from verify.measure import decomposition
from verify.measure.cell import Cell, measured
from verify.mechanisms import named_member, named_variant
from verify.numbers import intervals
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.balls import Balls
from verify.numbers.exponentials import ExponentialField, InexpressibleError, Vector
from verify.numbers.formats import FORMATS
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.numbers.rounding import UndecidedRoundingError, correctly_rounded
from verify.problem import Problem
from verify.recommend import recommend
from verify.truth import certify, members_at_once, reference, references
from verify.truth.certificate import certified
from verify.truth.decimals import decimals
from verify.truth.in_blocks import memory_estimate
from verify.truth.ties import rational_values

BFLOAT16, FLOAT32, E4M3 = (FORMATS[name] for name in ("bfloat16", "float32", "float8_e4m3fn"))

SHIPPED = ["softmax", "logexp", "taylor:order=0", "taylor:order=3", "power:degree=2", "elu", "favor:features=2", "mean"]


def plain(rounded: Any) -> list[list[float]]:
    values: list[list[float]] = rounded.astype(np.float64).tolist()
    return values


@pytest.mark.parametrize("member", SHIPPED)
def test_f1_one_attended_key_gives_its_value(member: str) -> None:
    truth = reference(Problem([[1.0, 1.0]], [[1.0, 0.5]], [[100.0, 104.0, -100.0]]), 30, member)
    assert plain(truth.rounded(E4M3)) == [[96.0, 104.0, -96.0]]  # 100 lies between 96 and 104, and 96 is even


def test_f1_causal_rows_of_float16_inputs_in_bfloat16() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        q, k, v = (rng.standard_normal((32, 128)).astype(np.float16) for _ in range(3))
        rounded = plain(reference(Problem(q, k, v, causal=True)).rounded(BFLOAT16))
        assert rounded[0] == [correctly_rounded(float(x), BFLOAT16) for x in v[0]]
        logits = (q.astype(np.longdouble) @ k.T.astype(np.longdouble)) / np.sqrt(np.longdouble(128))
        weights = np.tril(np.exp(logits))
        expected = (weights @ v.astype(np.longdouble)) / weights.sum(axis=1, keepdims=True)
        assert np.abs(np.array(rounded) - expected.astype(np.float64)).max() <= 2.0**-7  # half a step below 4


@pytest.mark.parametrize("head_size", [3, 5, 16, 64, 67, 130])
def test_f1_equal_keys_give_the_mean(head_size: int) -> None:
    rng = np.random.default_rng(head_size)
    n = 8
    v = rng.integers(-3, 4, (n, 5)) / 4.0
    v[:, 0], v[:, 1] = 1.0 + 2.0**-24, np.where(np.arange(n) % 2, 1.0, 1.0 + 2.0**-23)  # both means are ties
    problem = Problem(rng.standard_normal((4, head_size)), np.tile(rng.standard_normal(head_size), (n, 1)), v)
    means = [sum(map(Fraction, column), Fraction(0)) / n for column in v.T.tolist()]
    for member in ("softmax", "logexp", "taylor:order=3"):
        truth = reference(problem, 15, member)
        for name in ("float32", "bfloat16", "float16"):
            expected = [correctly_rounded(mean, FORMATS[name]) for mean in means]
            assert plain(truth.rounded(FORMATS[name])) == [expected] * 4


@pytest.mark.parametrize("member", SHIPPED)
def test_f1_a_large_problem_of_ties(member: str) -> None:
    n, rng = 300, np.random.default_rng(3)
    q, v = rng.standard_normal((n, 64)), np.full((n, 4), 1.0 + 2.0**-24)
    v[:, 1] = np.where(np.arange(n) % 2, 1.0, 1.0 + 2.0**-23)
    truth = reference(Problem(q, np.tile(rng.standard_normal(64), (n, 1)), v), 15, member)
    assert plain(truth.rounded(FLOAT32)) == [[1.0] * 4] * n  # the mean of v[:, 1] is a tie as well


def test_f1_two_values_and_different_keys_are_decided_by_balls() -> None:
    n, rng = 300, np.random.default_rng(4)
    q, k = rng.standard_normal((2, n, 3))
    v = np.where(rng.random((n, 2)) < 0.5, 1.0, -1.0)
    truth = reference(Problem(q, k, v), 15)
    rounded = np.array(plain(truth.rounded(BFLOAT16)))
    weights = np.exp(q @ k.T / np.sqrt(3))
    assert np.abs(rounded - weights @ v / weights.sum(axis=1, keepdims=True)).max() <= 2.0**-9 + 1e-12


def test_f1_equal_logits_of_different_keys() -> None:
    # 2 x 1 + 1 x 2 = 1 x 2 + 2 x 1, and a third key by itself: the groups' means are the same, and a tie
    tie = 1.0 + 2.0**-24
    problem = Problem([[1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0], [0.1, 0.3]], [[1.0], [1.0 + 2.0**-23], [tie]])
    for member in ("softmax", "taylor:order=2", "logexp"):
        assert plain(reference(problem, 15, member).rounded(FLOAT32)) == [[1.0]]
    # beside it another mean: e^x + 2 for x = sqrt 2 is no rational number, and balls decide
    moved = Problem(problem.q, problem.k, [[1.0], [1.0 + 2.0**-23], [2.0]])
    assert 1.0 < reference(moved, 15).rounded(FLOAT32)[0, 0] < 2.0


@pytest.mark.parametrize("scale", [0.5, None])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_f1_polynomials_of_rational_logits_are_rational(order: int, scale: float | None) -> None:
    # four components: 1 / sqrt(4) is 1/2 as well
    rng = np.random.default_rng(order)
    for _ in range(40):
        q, k, v = (rng.integers(-4, 5, shape).astype(float) for shape in ((1, 4), (3, 4), (3, 1)))
        problem = Problem(q, k, v, scale=scale)
        logits = [Fraction(int(q[0] @ row)) / 2 for row in k]
        weights = [sum((s**p / factorial(p) for p in range(order + 1)), Fraction(0)) for s in logits]
        total = sum(weights)
        if total == 0:
            continue
        exact = sum((w * int(x) for w, x in zip(weights, v[:, 0], strict=True)), Fraction(0)) / total
        member = named_member(named("taylor", order))
        assert rational_values(problem, member, [(0, 0)]) == {(0, 0): exact}
        truth = reference(problem, 15, member)
        for name in ("float8_e4m3fn", "bfloat16"):
            np.testing.assert_equal(plain(truth.rounded(FORMATS[name])), [[correctly_rounded(exact, FORMATS[name])]])


def test_f1_polynomials_of_irrational_logits() -> None:
    # d = 3: weights 1 + s / sqrt 3 of integers s; the outputs a + b sqrt 3 are rational only where b is 0
    member = named_member("taylor:order=1")
    cases = {(1, 1): Fraction(3, 2), (2, -2): None, (0, 0): Fraction(3, 2), (3, -3): None}
    for (one, other), expected in cases.items():
        problem = Problem([[1.0, 0.0, 0.0]], [[one, 0.0, 0.0], [other, 1.0, 1.0]], [[1.0], [2.0]])
        found = rational_values(problem, member, [(0, 0)])
        assert found == ({} if expected is None else {(0, 0): expected})


def test_f1_one_undecided_element_does_not_lose_the_rest() -> None:
    # the second key's weight of e^-9000 says on which side of the tie the first output lies, at 3,900 digits
    tie = 1.0 + 2.0**-24
    problem = Problem([[1.0], [0.0]], [[0.0], [-9000.0]], [[tie, 3.0], [2.0, 3.0]], scale=1.0)
    truth = reference(problem, 15)
    with pytest.raises(
        CertificationError, match=r"1 rounding undecided at 1000 digits: element \[0, 0\], \[1\.0000"
    ) as raised:
        truth.rounded(FLOAT32)
    assert "\n" not in str(raised.value)
    rounded = plain(truth.rounded(FLOAT32, undecided="nan"))
    assert np.isnan(rounded[0][0])
    assert rounded[0][1] == 3.0
    assert rounded[1] == [1.5, 3.0]
    with pytest.raises(InvalidRequestError, match="undecided 'zero'; expected one of refused, nan; choose one"):
        truth.rounded(FLOAT32, undecided="zero")


def test_f1_a_value_by_algebra_outside_its_ball_is_an_error() -> None:
    truth = reference(Problem([[1.0, 1.0, 1.0]], [[1.0, 0.5, 0.1]] * 3, [[100.0]] * 3), 15)
    truth.balls.mantissa[0, 0] += 1 << 40
    with pytest.raises(CertificationError, match=r"element \[0, 0\] is .* by balls and 100.0 by algebra"):
        truth._require_inside((0, 0), Fraction(100))


def test_f1_sums_of_exponentials_are_exact() -> None:
    f = ExponentialField()
    e, root = f.exp(1), f.sqrt(8)  # sqrt 8 = 2 sqrt 2
    assert ((e + 1) * (e - 1) - e**2 + 1).terms == {}
    assert (f.sqrt(2) * 2 - root).terms == {}
    assert ((1 + root) / (1 + root) - 1).terms == {}
    assert (f.exp(root) / f.exp(root - 1) - e).terms == {}
    assert (f.sqrt(Fraction(9, 4)) - Fraction(3, 2)).terms == {}
    assert (f.positive(3 - root) - 3 + root).terms == f.positive(2 - root).terms == {}
    one, other = Vector(f, [0.5, -3e300]), Vector(f, [2.0**-1074, 1e-300])
    exact = sum(Fraction(a) * Fraction(b) for a, b in ((0.5, 2.0**-1074), (-3e300, 1e-300)))
    assert (f.dot(one, other) - exact).terms == (f.dot(list(one), list(other)) - exact).terms == {}
    refused = ((f.sqrt, 3), (f.sqrt, -1), (f.sqrt, root), (f.exp, e), (f.positive, e), (f.number(1).__truediv__, e + 1))
    for leave, given in refused:
        with pytest.raises(InexpressibleError):
            leave(given)
    with pytest.raises(ZeroDivisionError):
        e / (e - e)
    with pytest.raises(TypeError, match="a float"):
        e + 0.5


def test_f2_an_exact_zero_between_huge_values_is_zero() -> None:
    problem = Problem([[0.3]], [[0.7], [0.7]], [[1e45], [-1e45]])
    for format_ in FORMATS.values():
        for digits in (1, 15, 40):
            assert plain(reference(problem, digits).rounded(format_)) == [[0.0]]
    # beyond the largest number on either side it is NaN still, and a ball from side to side is not
    beyond = Problem([[0.3]], [[0.7]], [[1e45, -1e45]])
    assert np.isnan(plain(reference(beyond, 15).rounded(E4M3))).all()
    with pytest.raises(UndecidedRoundingError, match="nan or nan"):
        correctly_rounded(reference(problem, 15).balls.ball((0, 0)) + 0, E4M3)


KEPT = """
import sys
import numpy as np
from verify.mechanisms import named_member, named_variant
from verify.problem import Problem
from verify.truth import references
from verify.truth.in_blocks import memory_estimate

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

heads, queries, value_size, orders, digits = map(int, sys.argv[1:])
rng = np.random.default_rng(34)
members = [named_member(f"taylor:order={order}") for order in range(orders)]
references(Problem(*rng.standard_normal((3, 4, 4))), members, digits)
shapes = (heads, queries, 4), (heads, 8, 4), (heads, 8, value_size)
problem = Problem(*(rng.standard_normal(shape) for shape in shapes))
before = peak()
references(problem, members, digits)
print(peak() - before, memory_estimate(problem, len(members), digits, 1, decimals=False))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak of memory that Linux tells")
@pytest.mark.parametrize("shape", [(9, 300, 64, 8, 33), (2, 600, 64, 4, 200)])
def test_f3_the_estimate_of_memory_is_a_bound_and_not_five_times_too_high(shape: tuple[int, ...]) -> None:
    # a process starts with its parent's peak: a shell in between is small
    command = ["sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", KEPT, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    grown, estimate = map(int, done.stdout.split())
    assert grown <= estimate <= 5 * grown


def test_f3_orders_are_taken_in_batches_where_all_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(*np.random.default_rng(3).standard_normal((3, 6, 4)), name="batches")
    orders = [named_member(f"taylor:order={order}") for order in range(8)]
    softmax = named_member("softmax")
    limit = memory_estimate(problem, 3, decomposition.DIGITS, 1, decimals=False)
    assert members_at_once(problem, decomposition.DIGITS, limit) == 3
    assert members_at_once(problem, decomposition.DIGITS, limit - 1) == 2
    assert members_at_once(problem, decomposition.DIGITS, 0) == 1
    asked: list[list[Any]] = []

    def recorded(problem: Problem, members: Any, digits: int, **limits: Any) -> Any:
        asked.append([member.along for member in members])
        return references(problem, members, digits, **limits)

    monkeypatch.setattr(decomposition, "references", recorded)
    truths = decomposition.Truths(problem, [softmax, *orders], memory_limit=limit)
    for member in [softmax, *orders, softmax]:
        expected = reference(problem, decomposition.DIGITS, member)
        assert (np.abs(truths.of(member).value - expected.value) <= expected.radius).all()
    assert asked == [[None], [0, 1, 2], [3, 4, 5], [6, 7]]


def test_f3_a_message_names_options_that_exist() -> None:
    with pytest.raises(TooLargeError, match=r"or more memory \(memory_limit, --memory\)$"):
        references(Problem([[1.0]], [[1.0]], [[1.0]]), [named_member("softmax")], memory_limit=1000)
    assert "memory_limit" in inspect.signature(references).parameters
    assert "memory" in inspect.signature(reference_command).parameters


@pytest.mark.parametrize("form", ["packed", "stream", "dense", "scores"])
def test_f4_bounds_beyond_float64_are_infinite(form: str) -> None:
    problem = Problem([[1e-3]], [[1e35], [0.0]], [[1.0], [2.0]], scale=1e-35)
    variant = named_variant(f"taylor:order=9/{form}")
    for arithmetic in ("float64", "float32", "bfloat16+float32"):
        found = variant.rounding_bound(problem, np.array([[1.5]]), named_arithmetic(arithmetic))
        assert found is not None
        if form != "scores":
            assert found.sure.tolist() == found.probable.tolist() == [[np.inf]]
    whole = measured(problem, Cell(variant, "float64"))
    assert whole.bounds["rounding"].unbounded == (form != "scores")


@pytest.mark.parametrize("arithmetic", ["float64", "float32", "bfloat16+float32"])
def test_f4_recommend_has_an_answer_for_such_inputs(arithmetic: str) -> None:
    # (e^s + 2) / (e^s + 1) at s = 1/1000 is within 1/4000 of 3/2, the answer of order 0
    problem = Problem([[1e-3]], [[1e35], [0.0]], [[1.0], [2.0]], scale=1e-35)
    found = recommend(problem, 1e-3, arithmetic=arithmetic, form="packed").overall
    assert found.value == 0
    assert found.measured == pytest.approx(1 / 6000, rel=1e-3)


@pytest.mark.parametrize("digits", [1, 15, 30])
@pytest.mark.parametrize(
    ("problem", "member", "expected"),
    [
        (Problem([[0.0, 0.0]], [[1e80, 1.0]], [[1.0]]), "logexp", 1.0),
        (Problem([[-3.0]], [[-1e30], [1.0], [2.0]], [[1.0], [1.0], [0.0]], scale=1e10), "softmax", 1.0),
        # all but the first weigh exp(-10^600) and less, with exponents of 600 digits
        (Problem([[1e300]], [[1e300], [-1e300], [1.0]], [[7.0], [5.0], [3.0]], scale=1.0), "softmax", 7.0),
        (Problem([[1e300]], [[1e308], [-1e308], [1.0]], [[7.0], [5.0], [3.0]]), "logexp", 7.0),
        (Problem([[1e300]], [[1e308], [-1e308], [1.0]], [[7.0], [5.0], [3.0]]), "elu", 7.0),
        (Problem([[1e300]], [[1e300], [0.0]], [[0.0], [5.0]], scale=1.0), "softmax", 0.0),
    ],
)
def test_f5_exponents_beyond_64_bits(problem: Problem, member: str, expected: float, digits: int) -> None:
    truth = reference(problem, digits, member)
    assert truth.value.tolist() == [[expected]]
    assert truth.digits >= digits
    assert (truth.radius <= 10.0**-digits * expected + 5e-324).all()
    assert plain(truth.rounded(FLOAT32)) == [[expected]]
    assert certify(problem, digits, member).elements == 1
    decimal, radius = decimals(truth.balls, digits)
    assert abs(float(decimal[0, 0]) - expected) <= radius[0, 0]


def test_f5_balls_of_any_exponent_are_held() -> None:
    beyond = 10**30
    with flint_precision(100):
        arbs = [arb(3, (1, -beyond)), arb((5, -beyond)), arb((-5, -beyond), (1, 3 - beyond)), arb((1, -beyond), 2)]
        balls = Balls.of(np.array(arbs, dtype=object))
        for place, ball in enumerate(arbs):
            assert balls.ball((place,)).contains(ball)
    assert balls.value.tolist() == [3.0, 0.0, 0.0, 0.0]
    assert balls.radius[:3].tolist() == [5e-324] * 3
    assert 2.0 <= balls.radius[3] < 2.001


@pytest.mark.parametrize("member", ["softmax", "logexp", "elu", "taylor:order=5", "favor:features=2"])
@pytest.mark.parametrize("size", [1e4, 2e4, 1e6, 1e9, 1e30, 1e300])
def test_f6_large_logits_are_certified_at_once(size: float, member: str) -> None:
    found = certify(Problem([[size]], [[1.0], [0.0]], [[1.0], [2.0]], scale=1.0), 50, member)
    assert (found.elements, found.rational) == (1, int(not member.startswith("favor")))
    # its features have no common factor: exp(10^4) and more would have to be written out
    expected = "1 output of weights beyond rational arithmetic" if member.startswith("favor") else ""
    assert found.without_rational == expected


def test_f6_the_certificate_says_what_was_not_asked() -> None:
    small = Problem([[0.5]], [[1.0], [0.0]], [[1.0], [2.0]], scale=1.0)
    found = certify(small, 20, "taylor:order=512")
    assert (found.elements, found.rational) == (1, 0)
    assert found.without_rational == "rational arithmetic takes work of 8,194, more than 500"
    # weights of exp(-10^5) beside each other: rationals hold them between 0 and exp(-16384)
    wide = certified(reference(Problem([[1.0]], [[-1e5], [-1e5 - 1]], [[1.0], [2.0]]), 20, "elu"))
    assert wide.without_rational in (
        "1 interval too wide to say anything",
        "1 output of weights beyond rational arithmetic",
    )


@pytest.mark.parametrize("digits", [30, 50, 300, 1000])
@pytest.mark.parametrize("member", ["taylor:order=1", "taylor:order=3", "softmax", "logexp"])
@pytest.mark.parametrize(("q", "scale"), [(1e-300, 1.0), (1.0, 1e-300), (1.0, 2.0**-1000)])
def test_f6_tiny_logits_that_cancel_are_no_disagreement(q: float, scale: float, member: str, digits: int) -> None:
    for k, v in (([[1.0], [2.0]], [[1.0], [-1.0]]), ([[1.0], [-1.0], [0.0]], [[1.0], [1.0], [-2.0]])):
        assert certify(Problem([[q]], k, v, scale=scale), digits, member).elements == 1


def test_f6_an_interval_of_an_exponential_beyond_all_digits() -> None:
    limit = Fraction(intervals.LARGEST_EXPONENT)
    for low, high in ((-(10**300), -(10**9)), (-(10**9), -3), (-limit - 1, -limit)):
        found = intervals.exponential(intervals.Interval(Fraction(low), Fraction(high)), 40)
        assert found.low == 0
        with mpmath_precision(400):
            top = mp.mpf(found.high.numerator) / found.high.denominator
            assert mp.exp(int(high)) <= top <= max(mp.exp(int(high)), mp.exp(-int(limit))) * (1 + mp.mpf(2) ** -30)
    with pytest.raises(OverflowError, match="above 16384"):
        intervals.exponential(intervals.Interval(Fraction(0), limit + 1), 40)
