from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from verify.measure.counts import WIDTH, Counts
from verify.measure.logits import logit_statistics
from verify.measure.metrics import (
    bits_of_error,
    computed_error,
    magnitudes,
    ratio,
    root_mean_square,
    row_cosines,
    skill,
)
from verify.measure.summary import BoundSummary, ErrorSummary, RowSummary
from verify.measure.tallies import MOST_DIGITS, BoundTally, ErrorTally, OutputTally, row_sizes
from verify.numbers.formats import FORMATS
from verify.problem import Problem
from verify.truth import difference, reference

RNG = np.random.default_rng(13)
PROBLEM = Problem(*RNG.standard_normal((3, 6, 4)))
SOFTMAX = reference(PROBLEM, 33)
NULL = reference(PROBLEM, 33, "taylor:order=0")
NULL_ERROR = difference(NULL, SOFTMAX)[0]
SIZE = root_mean_square(np.abs(SOFTMAX.value))


def summarise(
    error: Any, found: Any, origin: Any, size: float, format_: str = "float64", doubt: Any = 0.0
) -> ErrorSummary:
    """Summarise an error over all rows [r, d], or over elements, each a row of its own."""
    e, f, o, off = (array[:, None] if np.ndim(array) == 1 else array for array in (error, found, origin, doubt))
    rows = np.ones(len(e), dtype=np.bool_)
    return ErrorTally.of(e, f, o, off, rows, FORMATS[format_]).summary(rows[None], size)


def summary_of(error: Any, found: Any) -> ErrorSummary:
    return summarise(error, found, SOFTMAX.value, SIZE)


def compare_rows(found: Any, error: Any, exact: Any, rows: Any) -> RowSummary:
    positions = np.arange(len(rows))
    sizes = row_sizes(magnitudes(error))[None]
    return OutputTally.of(found, error, exact, rows, positions, len(rows)).summary(rows[None], sizes, positions)


def summarise_bound(error: Any, bound: Any, size: float) -> BoundSummary:
    rows = np.ones(len(error), dtype=np.bool_)
    return BoundTally.of(error[:, None], bound[:, None], rows).summary(rows[None], size)


def skill_of(error: Any, null: Any) -> float | None:
    return skill(*(root_mean_square(magnitudes(each)) for each in (error, null)))


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
    assert summary.max == 4.0
    assert 1.0 <= summary.q95 <= 1.0 + WIDTH
    assert 0.25 <= summary.q50 <= 0.25 * (1 + WIDTH)
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
    middle = np.sort(magnitudes(error).ravel())[11]
    assert middle <= summary.q50 <= middle * (1 + WIDTH)
    assert skill_of(error, NULL_ERROR) == -np.inf


def test_a_swapped_row_is_an_error() -> None:
    answer = SOFTMAX.value[[1, 0, 2, 3, 4, 5]]
    assert summary_of(computed_error(answer, SOFTMAX), answer).relative > 0.01


def test_an_exact_value_that_does_not_exist_is_an_infinite_error() -> None:
    undefined = reference(Problem([[1.0]], [[-1.0]], [[3.0]], scale=1.0), 33, "taylor:order=1")
    answer = np.array([[3.0]])
    error = computed_error(answer, undefined)
    summary = summarise(error, answer, undefined.value, 3.0, "float32")
    assert (summary.max, summary.bits_mean) == (np.inf, 32.0)


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_bits_of_error_count_steps_of_the_format(name: str) -> None:
    format_ = FORMATS[name]
    eps = float(np.finfo(format_.dtype).eps)
    found = np.array([1.0, 1.0 + 3 * eps, 1.0 - eps, np.nan, np.inf])
    expected = [0.0, 2.0, math.log2(3), format_.width, format_.width]  # below one, steps are half as long
    assert bits_of_error(found, np.ones(5), format_).tolist() == expected


def test_skill_and_ratio() -> None:
    assert skill_of(NULL_ERROR, NULL_ERROR) == 0.0
    assert skill_of(np.zeros_like(NULL_ERROR), NULL_ERROR) == 1.0
    assert skill_of(3 * NULL_ERROR, NULL_ERROR) == pytest.approx(-2.0)
    assert skill_of(NULL_ERROR, np.zeros_like(NULL_ERROR)) is None
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


def digits_of(error: list[float], origin: list[float]) -> list[float]:
    """Return the correct digits of single elements."""
    return [
        summarise(np.array([one]), np.array([other]), np.array([other]), 1.0).digits_min
        for one, other in zip(error, origin, strict=True)
    ]


def test_correct_digits() -> None:
    found = digits_of([1e-3, 0.0, 5.0, np.inf, 1e-50], [1.0] * 5)
    assert found == pytest.approx([3.0, MOST_DIGITS, 0.0, 0.0, MOST_DIGITS])
    assert digits_of([1.0], [0.0]) == [0.0]
    error = np.array([1e-5, 1e-2, 1e-3, 1e-4])  # of an even number, the lower of the two in the middle
    assert summarise(error, 1 + error, np.ones(4), 1.0).digits_median == pytest.approx(3.0, abs=0.4343 * WIDTH)


def test_errors_that_the_exact_value_cannot_resolve_are_counted() -> None:
    error, found = np.array([0.0, 1.0]), np.array([1.0, 2.0])
    summary = summarise(error, found, np.array([1.0 + 1e-9, 1.0]), 1.0, doubt=np.array([1e-6, 1e-6]))
    assert summary.unresolved == 1
    assert summarise(error, found, np.array([1.0, 1.0]), 1.0).unresolved == 0


def test_quantiles_are_those_of_the_sorted_errors() -> None:
    error = np.arange(1.0, 201.0)
    summary = summarise(error, error, np.zeros(200), 1.0)
    found = [summary.q05, summary.q25, summary.q50, summary.q75, summary.q95, summary.q99]
    for quantile, expected in zip(found, [10, 50, 100, 150, 190, 198], strict=True):
        assert expected <= quantile <= expected * (1 + WIDTH)


@pytest.mark.parametrize("seed", range(20))
def test_quantiles_by_counts_are_within_their_width_however_they_were_counted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(0.0, 10.0 ** rng.integers(-3, 3), rng.integers(1, 400)))
    sizes[rng.random(len(sizes)) < 0.2] = rng.choice([0.0, np.inf, 1.0])
    cuts = np.sort(rng.integers(0, len(sizes) + 1, 3))
    whole, parts = Counts.of(sizes), Counts.joined(map(Counts.of, np.split(sizes, cuts)))
    assert whole.total == parts.total == len(sizes)
    assert whole.largest == parts.largest == sizes.max()
    for percent in (1, 5, 25, 50, 75, 95, 99):
        exact = float(np.quantile(sizes, percent / 100, method="inverted_cdf"))
        assert whole.quantile(percent) == parts.quantile(percent)
        assert exact <= whole.quantile(percent) <= exact * (1 + WIDTH)


def test_a_cosine_is_at_most_one() -> None:
    rows = np.array([[0.8233788498177785, 0.5496600448560894, 0.3918426411047775]])  # 1 + 2**-52 before it is cut
    assert row_cosines(rows, rows).tolist() == [1.0]
    assert row_cosines(rows, -rows).tolist() == [-1.0]


def test_digits_and_cosines_of_what_is_no_number() -> None:
    # inf / NaN and inf / inf are NaN, and mean that nothing is right
    error, origin = np.array([np.inf, np.inf, 0.5]), np.array([np.nan, np.inf, np.nan])
    assert digits_of(error.tolist(), origin.tolist()) == [0.0, 0.0, 0.0]
    special = [[np.nan, 1.0], [np.inf, 1.0], [1.0, -np.inf], [np.inf, np.inf], [np.inf, 0.0]]
    for one, other in ((special, np.ones((5, 2))), (np.ones((5, 2)), special), (special, special)):
        assert row_cosines(np.array(one), np.array(other)).tolist() == [-1.0] * 5


def test_a_row_without_a_value_is_not_unresolved() -> None:
    # on inputs that are exact, its quantisation is 0 to the last bit, between two values that are both NaN
    origin, nothing = np.array([np.nan, 1.0]), np.zeros(2)
    assert summarise(nothing, origin, origin, 1.0, doubt=nothing).unresolved == 0
    assert summarise(nothing, origin, origin, 1.0).unresolved == 0


def test_a_null_prediction_that_is_no_number_is_the_worst() -> None:
    null = np.array([0.5, np.nan])
    assert skill_of(np.array([0.5, 0.5]), null) == 1.0
    assert skill_of(np.array([0.5, np.nan]), null) == -np.inf


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
