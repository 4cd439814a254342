from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from verify.measure.metrics import (
    MOST_DIGITS,
    bits_of_error,
    computed_error,
    correct_digits,
    logit_statistics,
    magnitudes,
    ratio,
    root_mean_square,
    row_cosines,
    skill,
)
from verify.measure.summarising import compare_rows, summarise, summarise_bound
from verify.measure.summary import BoundSummary, ErrorSummary
from verify.numbers.formats import FORMATS
from verify.problem import Problem
from verify.truth import difference, reference

RNG = np.random.default_rng(13)
PROBLEM = Problem(*RNG.standard_normal((3, 6, 4)))
SOFTMAX = reference(PROBLEM, 33)
NULL = reference(PROBLEM, 33, "taylor:order=0")
NULL_ERROR = difference(NULL, SOFTMAX)[0]
SIZE = root_mean_square(np.abs(SOFTMAX.value))


def summary_of(error: Any, found: Any, format_: str = "float64") -> ErrorSummary:
    return summarise(error, found, SOFTMAX.value, SIZE, FORMATS[format_])


def test_error_of_an_answer_is_seen_below_its_last_bit() -> None:
    # the residual is what makes the float64 nearest to the exact value not look exact
    error = computed_error(SOFTMAX.value, SOFTMAX)
    np.testing.assert_array_equal(error, -SOFTMAX.residual)
    assert 0 < np.abs(error).max() < 2.0**-53


def test_an_error_within_the_radius_is_none() -> None:
    one = reference(Problem([[0.3]], [[0.7], [0.2]], [[0.1], [0.1]]))  # exactly v, in a ball that is not a point
    assert one.radius.max() > 0
    assert computed_error(np.array([[0.1]]), one).tolist() == [[0.0]]


def test_summary_of_a_known_error() -> None:
    error = np.full(SOFTMAX.value.shape, 0.25)
    error[0] = 0.5
    error[5, 2:] = [-1.0, -4.0]
    summary = summary_of(error, SOFTMAX.value + error)
    assert (summary.max, summary.q95, summary.q50) == (4.0, 1.0, 0.25)
    assert summary.rms == pytest.approx(math.sqrt((18 * 0.0625 + 4 * 0.25 + 1 + 16) / 24), rel=1e-15)
    norm = math.sqrt(math.fsum(SOFTMAX.value.ravel() ** 2) / 24)
    assert summary.relative == pytest.approx(summary.rms / norm, rel=1e-14)


@pytest.mark.parametrize("planted", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("everywhere", [False, True])
def test_special_values_are_the_largest_error(planted: float, everywhere: bool) -> None:
    answer = SOFTMAX.value.copy()
    answer[(..., slice(None)) if everywhere else (2, 1)] = planted
    error = computed_error(answer, SOFTMAX)
    summary = summary_of(error, answer)
    assert summary.max == summary.rms == summary.relative == np.inf
    assert summary.bits_max == 64
    assert summary.q50 == (
        np.inf if everywhere else magnitudes(error).ravel()[np.argsort(magnitudes(error).ravel())[11]]
    )
    assert skill(error, NULL_ERROR) == -np.inf


def test_a_swapped_row_is_an_error() -> None:
    answer = SOFTMAX.value[[1, 0, 2, 3, 4, 5]]
    assert summary_of(computed_error(answer, SOFTMAX), answer).relative > 0.01


def test_an_exact_value_that_does_not_exist_is_an_infinite_error() -> None:
    undefined = reference(Problem([[1.0]], [[-1.0]], [[3.0]], scale=1.0), 33, "taylor:order=1")
    answer = np.array([[3.0]])
    error = computed_error(answer, undefined)
    summary = summarise(error, answer, undefined.value, 3.0, FORMATS["float32"])
    assert (summary.max, summary.bits_mean) == (np.inf, 32.0)


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_bits_of_error_count_steps_of_the_format(name: str) -> None:
    format_ = FORMATS[name]
    eps = float(np.finfo(format_.dtype).eps)
    found = np.array([1.0, 1.0 + 3 * eps, 1.0 - eps, np.nan, np.inf])
    expected = [0.0, 2.0, math.log2(3), format_.width, format_.width]  # below one, steps are half as long
    assert bits_of_error(found, np.ones(5), format_).tolist() == expected


def test_skill_and_ratio() -> None:
    assert skill(NULL_ERROR, NULL_ERROR) == 0.0
    assert skill(np.zeros_like(NULL_ERROR), NULL_ERROR) == 1.0
    assert skill(3 * NULL_ERROR, NULL_ERROR) == pytest.approx(-2.0)
    assert skill(NULL_ERROR, np.zeros_like(NULL_ERROR)) is None
    assert [ratio(0.0, 0.0), ratio(1.0, 0.0), ratio(np.inf, np.inf), ratio(1.0, 4.0)] == [None, np.inf, np.inf, 0.25]


def test_root_mean_square_neither_overflows_nor_underflows() -> None:
    assert root_mean_square(np.array([3e200, 4e200])) == pytest.approx(math.sqrt(12.5) * 1e200)
    assert root_mean_square(np.array([3e-200, 4e-200])) == pytest.approx(math.sqrt(12.5) * 1e-200, abs=0)
    assert root_mean_square(np.zeros(3)) == 0.0


def test_logit_statistics_count_attended_pairs_only() -> None:
    problem = Problem([[1.0], [2.0]], [[3.0], [-50.0]], [[1.0], [1.0]], scale=0.5, mask=np.array([[True, False]] * 2))
    largest, spread = logit_statistics(problem)
    assert largest == 3.0  # logits 1.5 and 3
    assert spread == pytest.approx(0.75)


def test_logit_statistics_neither_cancel_nor_drop_a_nan() -> None:
    q = np.full((1, 1), 1e8)
    k = 1.0 + np.array([[0.0], [1e-9], [2e-9], [3e-9]])
    largest, spread = logit_statistics(Problem(q, k, k, scale=1.0))
    assert spread == pytest.approx(0.1 * math.sqrt(1.25), rel=1e-6)  # deviations of 0 .. 0.3; logits carry 1.5e-8
    signs = np.array([[1.0, -1.0, 1.0, -1.0]] * 2)
    largest, spread = logit_statistics(Problem(np.full((1, 4), 1e200), 1e200 * signs, signs))
    assert math.isnan(largest)
    several = np.random.default_rng(17).standard_normal((3, 5, 4))
    problem = Problem(several, several + 3, several, scale=2.0)
    logits = 2.0 * several @ (several + 3).mT
    largest, spread = logit_statistics(problem)
    assert largest == pytest.approx(np.abs(logits).max())
    assert spread == pytest.approx(logits.std())


def test_metrics_of_rows() -> None:
    rows = np.ones(6, dtype=bool)
    exact = SOFTMAX.value
    same = compare_rows(exact, np.zeros_like(exact), exact, rows)
    assert same.cosine_min == pytest.approx(1.0)
    assert [span[:2] for span in same.by_position] == [(0, 0), (1, 1), (2, 3), (4, 5)]
    swapped = exact[[1, 0, 2, 3, 4, 5]]
    found = compare_rows(swapped, computed_error(swapped, SOFTMAX), exact, rows)
    expected = float(exact[0] @ exact[1]) / math.sqrt(float(exact[0] @ exact[0]) * float(exact[1] @ exact[1]))
    assert found.cosine_min == pytest.approx(min(expected, 1.0))
    assert found.by_position[0][2] == pytest.approx(math.sqrt(np.mean((swapped[0] - exact[0]) ** 2)))
    assert found.by_position[2][2] < 1e-15
    for planted in (np.nan, np.inf):
        answer = exact.copy()
        answer[4, 1] = planted
        one = compare_rows(answer, computed_error(answer, SOFTMAX), exact, rows)
        assert (one.cosine_min, one.by_position[-1][2]) == (-1.0, np.inf)
        answer[:] = planted
        every = compare_rows(answer, computed_error(answer, SOFTMAX), exact, rows)
        assert (every.cosine_mean, every.cosine_min) == (-1.0, -1.0)
        assert all(span[2] == np.inf for span in every.by_position)


def test_cosines_of_zero_and_huge_rows() -> None:
    found = np.array([[0.0, 0.0], [0.0, 0.0], [1e300, 1e300], [3.0, -4.0]])
    exact = np.array([[0.0, 0.0], [1.0, 0.0], [1e-300, 1e-300], [-3.0, 4.0]])
    assert row_cosines(found, exact).tolist() == pytest.approx([1.0, -1.0, 1.0, -1.0])


def test_correct_digits() -> None:
    error = np.array([1e-3, 0.0, 5.0, np.inf, 1e-50])
    assert correct_digits(error, np.ones(5)).tolist() == pytest.approx([3.0, MOST_DIGITS, 0.0, 0.0, MOST_DIGITS])
    assert correct_digits(np.array([1.0]), np.zeros(1)).tolist() == [0.0]


def test_errors_that_the_exact_value_cannot_resolve_are_counted() -> None:
    error, found = np.array([0.0, 1.0]), np.array([1.0, 2.0])
    summary = summarise(error, found, np.array([1.0 + 1e-9, 1.0]), 1.0, FORMATS["float64"], np.array([1e-6, 1e-6]))
    assert summary.unresolved == 1
    assert summarise(error, found, np.array([1.0, 1.0]), 1.0, FORMATS["float64"]).unresolved == 0


def test_quantiles_are_those_of_the_sorted_errors() -> None:
    error = np.arange(1.0, 201.0)
    summary = summarise(error, error, np.zeros(200), 1.0, FORMATS["float64"])
    found = [summary.q05, summary.q25, summary.q50, summary.q75, summary.q95, summary.q99]
    assert found == [10, 50, 100, 150, 190, 198]


def test_a_cosine_is_at_most_one() -> None:
    rows = np.array([[0.8233788498177785, 0.5496600448560894, 0.3918426411047775]])  # 1 + 2**-52 before it is cut
    assert row_cosines(rows, rows).tolist() == [1.0]
    assert row_cosines(rows, -rows).tolist() == [-1.0]


def test_digits_and_cosines_of_what_is_no_number() -> None:
    # inf / NaN and inf / inf are NaN, and mean that nothing is right
    error, origin = np.array([np.inf, np.inf, 0.5]), np.array([np.nan, np.inf, np.nan])
    assert correct_digits(error, origin).tolist() == [0.0, 0.0, 0.0]
    special = [[np.nan, 1.0], [np.inf, 1.0], [1.0, -np.inf], [np.inf, np.inf], [np.inf, 0.0]]
    for one, other in ((special, np.ones((5, 2))), (np.ones((5, 2)), special), (special, special)):
        assert row_cosines(np.array(one), np.array(other)).tolist() == [-1.0] * 5


def test_a_row_without_a_value_is_not_unresolved() -> None:
    # on inputs that are exact, its quantisation is 0 to the last bit, between two values that are both NaN
    origin, nothing = np.array([np.nan, 1.0]), np.zeros(2)
    assert summarise(nothing, origin, origin, 1.0, FORMATS["float64"], nothing).unresolved == 0
    assert summarise(nothing, origin, origin, 1.0, FORMATS["float64"]).unresolved == 0


def test_a_null_prediction_that_is_no_number_is_the_worst() -> None:
    null = np.array([0.5, np.nan])
    assert skill(np.array([0.5, 0.5]), null) == 1.0
    assert skill(np.array([0.5, np.nan]), null) == -np.inf


def test_shares_of_bounds() -> None:
    bound = np.array([4.0, 8.0, 0.0])
    found = summarise_bound(np.array([-3.0, 2.0, 0.0]), bound, 2.0)
    assert (found.share, found.unbounded) == (0.75, 0)
    assert found.relative == pytest.approx(math.sqrt(80 / 3) / 2)
    assert summarise_bound(np.array([0.0, 0.0, 1e-300]), bound, 2.0).share == np.inf  # nothing may be off there
    # without a bound there is no share, and the bound as a whole is infinite
    none = summarise_bound(np.array([-3.0, np.nan, 0.0]), np.array([4.0, np.inf, np.nan]), 2.0)
    assert none == BoundSummary(np.inf, 0.75, 2)
    assert summarise_bound(np.zeros(2), np.full(2, np.inf), 0.0) == BoundSummary(np.inf, 0.0, 2)


@pytest.mark.parametrize("planted", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bound", [0.0, 1.0, 1e300])
def test_an_error_that_is_no_number_exceeds_every_finite_bound(planted: float, bound: float) -> None:
    assert summarise_bound(np.array([0.0, planted]), np.array([1.0, bound]), 1.0).share == np.inf
