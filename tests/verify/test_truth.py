"""Three accounts of the same exact values: Arb balls, mpmath's definition, and rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import factorial
from typing import Any

import numpy as np
import pytest
import scipy.special
from flint import arb, arb_mat
from mpmath import mp

import verify
from tests.cases import ORDERS, PROBLEMS, every_mechanism, every_problem, named
from verify.errors import CertificationError, InvalidRequestError
from verify.mechanisms import named_member
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.precision import MAX_BITS, flint_precision, mpmath_precision
from verify.parallel import blocks as block
from verify.problem import Problem
from verify.truth import MAX_DIGITS, Reference, defined_attention, enclosure, reference, references
from verify.truth.enclosure import _Quotients
from verify.truth.totals import Totals

DIGITS = 40


def outside(truth: Reference, defined: Any) -> int:
    """Count the elements of another account that do not lie within radius of the centre, NaN included."""
    with mpmath_precision(400):
        gaps = np.array([abs(a - b) for a, b in zip(truth.to_mpf().flat, defined.flat, strict=True)], dtype=object)
        return int(sum(not gap <= radius for gap, radius in zip(gaps, truth.radius.flat, strict=True)))


@every_mechanism
@every_problem
def test_the_definition_lies_in_every_ball(problem: Problem, mechanism: str, order: int | None) -> None:
    truth = reference(problem, DIGITS, named(mechanism, order))
    # 60 digits more than the ball promises, so that the definition's own error is far below any radius
    defined = defined_attention(problem, named(mechanism, order), DIGITS + 60)
    assert truth.value.shape == problem.output_shape == defined.shape
    assert outside(truth, defined) == 0
    assert truth.digits >= DIGITS
    # the digits that are claimed are there; a subnormal radius is rounded up by as much as the smallest number
    relative = ~truth.absolute & (truth.value != 0)
    claimed = 10.0 ** -float(truth.digits) * np.abs(truth.value[relative])
    assert (truth.radius[relative] <= claimed * (1 + 1e-12) + 5e-324).all()
    assert (truth.radius[truth.value == 0] == 0).all() or truth.absolute[truth.value == 0].all()


@pytest.mark.parametrize("digits", [1, 15, 40])
@every_problem
def test_digits_come_from_raised_precision_and_not_from_guard_bits(
    problem: Problem, digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enclosure, "GUARD_BITS", 4)
    truth = reference(problem, digits)
    assert truth.digits >= digits
    relative = ~truth.absolute & (truth.value != 0) & (np.abs(truth.value) > 1e-250)
    assert (truth.radius[relative] <= 10.0**-digits * np.abs(truth.value[relative])).all()


@pytest.mark.parametrize("planted", [1e-30, float("nan")])
@every_mechanism
def test_a_planted_error_is_outside(mechanism: str, order: int | None, planted: float) -> None:
    problem = PROBLEMS[0]
    truth = reference(problem, DIGITS, named(mechanism, order))
    defined = defined_attention(problem, named(mechanism, order), DIGITS + 60)
    with mpmath_precision(400):
        defined[2, 1] *= 1 + mp.mpf(planted)
    assert outside(truth, defined) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_taylor_against_rationals(order: int) -> None:
    # halves and quarters as inputs, scale 1/2: every step of the formula is rational
    rng = np.random.default_rng(6)
    q, k, v = (rng.integers(-8, 9, (5, 3)) / 4 for _ in range(3))
    problem = Problem(q, k, v, scale=0.5, causal=True)
    truth = reference(problem, DIGITS, named("taylor", order)).to_mpf()
    for i in range(5):
        logits = [sum(Fraction(a) * Fraction(b) for a, b in zip(q[i], k[t], strict=True)) / 2 for t in range(i + 1)]
        weights: list[Any] = [
            sum((s**p / Fraction(factorial(p)) for p in range(order + 1)), Fraction(0)) for s in logits
        ]
        for j in range(3):
            numerator = sum((w * Fraction(v[t, j]) for t, w in enumerate(weights)), Fraction(0))
            exact = Fraction(numerator, sum(weights, Fraction(0)))
            with mpmath_precision(400):
                gap = abs(truth[i, j] - mp.mpf(exact.numerator) / exact.denominator)
                assert gap <= mp.mpf(10) ** -DIGITS * abs(truth[i, j])


def test_softmax_against_scipy() -> None:
    rng = np.random.default_rng(7)
    q, k, v = rng.standard_normal((3, 20, 8))
    expected = scipy.special.softmax(q @ k.T / np.sqrt(8), axis=-1) @ v
    truth = reference(Problem(q, k, v)).value
    # sums of 20 products and exponentials of logits below 6 in double precision lose far less than 100 units
    assert np.abs(truth - expected).max() < 100 * 2.0**-53 * np.abs(v).max()


@every_problem
def test_value_and_residual_hold_the_centre(problem: Problem) -> None:
    truth = reference(problem, DIGITS)
    with flint_precision(MAX_BITS):
        for value, residual, centre in zip(truth.value.flat, truth.residual.flat, truth.to_mpf().flat, strict=True):
            with mpmath_precision(MAX_BITS):
                left = abs(centre - mp.mpf(float(value)) - mp.mpf(float(residual)))
                # two nearest roundings: 2**-53 each; the second may also hit the smallest subnormal
                assert left <= abs(centre) * mp.mpf(2) ** -106 + mp.mpf(2) ** -1075


def test_what_is_known_exactly_has_the_most_digits_there_are() -> None:
    assert reference(Problem([[1.0]], [[3.0]], [[2.0]]), 5).digits == MAX_DIGITS
    with pytest.raises(
        InvalidRequestError, match=f"digits {MAX_DIGITS + 1}; expected an integer from 1 to {MAX_DIGITS}"
    ):
        reference(Problem([[1.0]], [[3.0]], [[2.0]]), MAX_DIGITS + 1)


def test_an_order_may_be_a_numpy_integer() -> None:
    one, other = (reference(PROBLEMS[0], 30, TAYLOR.member(order=order)) for order in (3, np.int64(3)))
    np.testing.assert_array_equal(one.value, other.value)


def test_orders_in_one_pass_are_the_orders_one_by_one() -> None:
    problem = PROBLEMS[3]
    members = [TAYLOR.member(order=order) for order in (7, 0, 3)]
    together = references(problem, members, DIGITS)
    assert list(together) == members
    for member, truth in together.items():
        assert truth.member == member
        alone = reference(problem, DIGITS, member)
        gap = np.abs((truth.value - alone.value) + (truth.residual - alone.residual))
        assert (gap <= truth.radius + alone.radius + 2.0**-105 * np.abs(truth.value)).all()


def test_members_are_asked_for_once_and_of_one_mechanism() -> None:
    third = TAYLOR.member(order=3)
    assert list(references(PROBLEMS[0], [third, TAYLOR.member(order=np.int64(3))])) == [third]
    assert references(PROBLEMS[0], []) == {}
    with pytest.raises(InvalidRequestError, match="members of 2 mechanisms; expected members of one; ask for each"):
        references(PROBLEMS[0], [third, named_member("softmax")])


def test_order_zero_is_the_mean_of_what_is_attended() -> None:
    v = np.random.default_rng(8).standard_normal((6, 3))
    truth = reference(Problem(v, v, v, causal=True), member="taylor:order=0")
    means = [[float(sum(map(Fraction, v[: i + 1, j])) / (i + 1)) for j in range(3)] for i in range(6)]
    np.testing.assert_array_equal(truth.value, means)


def test_logexp_ignores_the_scale() -> None:
    rng = np.random.default_rng(9)
    q, k, v = rng.standard_normal((3, 4, 3))
    one, other = (reference(Problem(q, k, v, scale=s), member="logexp") for s in (0.25, None))
    np.testing.assert_array_equal(one.value, other.value)


def test_weights_that_cancel_exactly_have_no_value() -> None:
    # P_3(-1) = 1/3 and P_3(-2) = -1/3: neither is a binary fraction, and their sum is still proven to be zero
    problem = Problem([[1.0], [0.0]], [[-1.0], [-2.0]], [[1.0], [2.0]], scale=1.0)
    truths = {
        member["order"]: truth
        for member, truth in references(problem, [TAYLOR.member(order=order) for order in range(5)]).items()
    }
    assert truths[3].undefined_rows.tolist() == [True, False]
    assert np.isnan(truths[3].value[0]).all()
    assert np.isnan(truths[3].radius[0]).all()
    assert truths[3].value[1].tolist() == [1.5]
    assert truths[1].nonpositive_rows.tolist() == [True, False]  # P_1(-1) + P_1(-2) = -1
    assert not any(truths[order].nonpositive_rows.any() for order in (0, 2, 4))


@pytest.mark.parametrize(("mechanism", "order"), [("softmax", None), ("logexp", None), ("taylor", 2)])
def test_outputs_that_cancel_have_no_digits_and_say_so(mechanism: str, order: int | None) -> None:
    # equal keys, and values 0.3 and -0.3: zero, though no ball knows it
    problem = Problem([[0.1, 0.7]], [[0.3, 0.9]] * 3, [[0.3, 1.0], [-0.3, 1.0], [0.0, 1.0]])
    truth = reference(problem, DIGITS, named(mechanism, order))
    assert truth.absolute.tolist() == [[True, False]]
    assert abs(truth.value[0, 0]) + truth.radius[0, 0] < 10.0 ** (-2 * DIGITS)
    assert truth.value[0, 1] == 1.0


def test_only_what_is_proven_to_be_nothing_counts_as_nothing() -> None:
    # two terms of size 1/2 each, and balls that may have come out of a coarser computation
    problem = Problem([[1.0]], [[1.0], [1.0]], [[1.0] * 5, [-1.0] * 5], scale=1.0)
    (whole,) = block.blocks_of(problem)
    wanted = 51
    with flint_precision(300):
        balls = [
            arb(2) ** -41 + arb(0, arb(2) ** -45),
            arb(0, 1),
            arb(0, arb(2) ** -101),
            arb(0, arb(2) ** -103),
            arb.nan(),
        ]
        found = _Quotients(whole, Totals(arb_mat([[*balls, 1]]), None), 300)
        found.find_zeros(named_member("softmax"), wanted)
    # 2**-102 of the terms is the line: 2**-41 is a number, and a ball that reaches beyond the line proves nothing
    assert found.absolute.tolist() == [[False, False, False, True, False]]
    assert (found.bits >= wanted).tolist() == found.absolute.tolist()


def test_small_values_are_not_mistaken_for_nothing() -> None:
    # 1 - exp(-x) of two tokens: small against its terms, and a number all the same
    problem = Problem([[1.0]], [[0.0], [2.0**-60]], [[1.0], [-1.0]], scale=1.0)
    truth = reference(problem, 15)
    assert not truth.absolute.any()
    assert truth.value[0, 0] == pytest.approx(-(2.0**-61), rel=1e-15, abs=0)


def test_nothing_attended_is_zero() -> None:
    problem = Problem(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), mask=np.array([[False] * 2, [True] * 2]))
    for mechanism, order in (("softmax", None), ("logexp", None), ("taylor", 3)):
        truth = reference(problem, member=named(mechanism, order))
        assert truth.value.tolist() == [[0.0] * 3, [1.0] * 3]
        assert not truth.nonpositive_rows.any()
    no_keys = Problem(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 4)))
    assert reference(no_keys).value.tolist() == [[0.0] * 4] * 2


def test_logexp_of_components_of_any_size() -> None:
    # exp(q_i + k_ti) beyond all floating-point numbers; only differences within a row matter
    problem = Problem([[1e200, 0.0]], [[-1e200, 1.0], [-1e200, 1.0]], [[3.0], [5.0]])
    truth = reference(problem, DIGITS, "logexp")
    assert truth.value.tolist() == [[4.0]]
    far = Problem([[3e5, 1.0]], [[7e5, 2.0], [7e5 - 1, 3.0]], [[3.0], [5.0]])
    near = Problem([[3.0, 4.0 - 3e5]], [[7.0, 9.0 - 7e5], [6.0, 10.0 - 7e5]], [[3.0], [5.0]])
    one, other = (reference(problem, DIGITS, "logexp").value for problem in (far, near))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("logit", "nothing"), [(1e19, True), (1e200, True), (3e4, True), (2e4, False)])
def test_values_beyond_all_exponents_are_nothing(logit: float, nothing: bool) -> None:
    # exp(-1e19) has an exponent that no 64-bit integer holds
    for problem, mechanism in (
        (Problem([[logit]], [[1.0], [0.0]], [[0.0], [1.0]], scale=1.0), "softmax"),
        (Problem([[1.0]], [[logit], [0.0]], [[0.0], [1.0]]), "logexp"),
    ):
        truth = reference(problem, DIGITS, mechanism)
        assert truth.absolute.tolist() == [[nothing]]
        assert truth.value.tolist() == [[0.0]]
        assert 0 < truth.radius[0, 0] < 1e-322
        assert truth.balls.ball((0, 0)).contains(arb(0)) == nothing


def test_signs_of_the_sums_of_weights() -> None:
    # P_1(s) = 1 + s for s = -1, -3, 5, and nothing attended
    mask = np.array([[True, False, False], [False, True, False], [False, False, True], [False, False, False]])
    problem = Problem(np.ones((4, 1)), [[-1.0], [-3.0], [5.0]], np.ones((3, 1)), mask=mask, scale=1.0)
    truth = reference(problem, DIGITS, "taylor:order=1")
    assert truth.normaliser_sign.tolist() == [0, -1, 1, 0]
    assert truth.undefined_rows.tolist() == [True, False, False, False]
    assert truth.nonpositive_rows.tolist() == [True, True, False, False]


def test_taylor_outputs_that_cancel_under_negative_weights() -> None:
    # equal keys with P_3(s) < 0, and values that cancel
    problem = Problem([[1.0] * 3], [[-1.0, -2.0, -7.0]] * 4, [[0.3], [-0.3], [0.7], [-0.7]])
    truth = reference(problem, DIGITS, "taylor:order=3")
    assert truth.normaliser_sign.tolist() == [-1]
    assert truth.absolute.all()
    assert truth.value.tolist() == [[0.0]]
    assert 0 < truth.radius[0, 0] < 10.0 ** (-2 * DIGITS)


def test_a_shortfall_is_said_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosure, "MAX_BITS", 64)
    with pytest.raises(
        CertificationError, match=r"element \[0, 0\] reached \d+ certified digits of 40 at the cap of 64"
    ):
        reference(PROBLEMS[0], DIGITS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"member": "relu"}, "unknown mechanism 'relu'; expected one of softmax, logexp, taylor"),
        ({"member": "softmax:order=2"}, "unknown parameter 'order'; expected no parameters of softmax"),
        ({"member": "taylor"}, "taylor without order; expected taylor:order="),
        ({"member": "taylor:order=-1"}, "order -1; expected an integer from 0 to "),
        ({"member": "taylor:order=2.0"}, "order '2.0'; expected an integer from 0 to "),
        ({"digits": 0}, "digits 0; expected an integer (of at least 1|from 1 to 1000)"),
        ({"digits": 10**6}, "digits 1000000; expected an integer from 1 to 1000"),
    ],
)
def test_wrong_requests(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        reference(PROBLEMS[0], **arguments)
    arguments = {"digits": 30} | {"member": "softmax"} | arguments
    if arguments["digits"] != 10**6:  # the definition takes any number of digits
        with pytest.raises(InvalidRequestError, match=message):
            defined_attention(PROBLEMS[0], **arguments)


@pytest.mark.parametrize("order", [-1, 2.0, np.float64(2), True, "2", None])
def test_an_order_that_is_no_whole_number_is_refused(order: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"order .*; expected an integer from 0 to"):
        TAYLOR.member(order=order)
    with pytest.raises(InvalidRequestError, match=r"order .*; expected an integer from 0 to"):
        verify.taylor_attention([[1.0]], [[1.0]], [[1.0]], order=order)


def test_correct_rounding_of_centres() -> None:
    # the conversion the arrays rest on, at a tie, a subnormal tie and the overflow threshold
    with flint_precision(300):
        assert float(arb(1) + arb(2) ** -53) == 1.0
        assert float(arb(1) + arb(2) ** -53 + arb(2) ** -200) == 1.0 + 2.0**-52
        assert float(3 * arb(2) ** -1075) == 2 * 5e-324
        assert float(arb(2) ** 1024 - arb(2) ** 970) == float("inf")
        assert float(arb(2) ** 1024 - arb(2) ** 970 - 1) == np.finfo(np.float64).max


def test_digits_are_looked_for_before_a_value_counts_as_nothing() -> None:
    # v and its products with the first components of k add up to 0 and to -2**-104, so that of the numerator at order 1
    # -2**-404 / sqrt(2) is left: far below 10**-80 of v, and with all its digits once twice the bits are carried
    a, k = 1 + 2.0**-52, 1 - 2.0**-52
    problem = Problem([[2.0**-300, 0.0]], [[k, 0.0], [1.0, 0.0], [0.0, 0.0]], [[a], [-1.0], [-(2.0**-52)]])
    truth = reference(problem, DIGITS, "taylor:order=1")
    assert not truth.absolute.any()
    assert truth.digits >= DIGITS
    with mpmath_precision(1000):
        root = mp.sqrt(2)
        exact = -(mp.mpf(2) ** -404) / root / (3 + mp.mpf(2) ** -300 / root * (2 - mp.mpf(2) ** -52))
    assert outside(truth, np.array([exact], dtype=object)) == 0
    assert truth.value[0, 0] == float(exact)


def test_thirty_digits_are_certified_unless_others_are_asked_for() -> None:
    assert [reference(PROBLEMS[0], *digits).asked for digits in ((), (12,))] == [30, 12]
    members = [named_member("taylor:order=1"), named_member("taylor:order=2")]
    assert [truth.asked for truth in references(PROBLEMS[0], members).values()] == [30, 30]
    assert reference(PROBLEMS[0]).digits >= 30
    loops = [defined_attention(PROBLEMS[0], "softmax", *digits) for digits in ((), (30,), (29,))]
    assert (loops[0] == loops[1]).all()
    assert (loops[0] != loops[2]).any()
