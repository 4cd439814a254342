from __future__ import annotations

import math

import numpy as np
import pytest

from verify.formats import FORMATS
from verify.metrics import (
    bits_of_error,
    computed_error,
    exact_difference,
    logit_statistics,
    magnitudes,
    ratio,
    root_mean_square,
    skill,
    summarise,
)
from verify.problem import Problem
from verify.truth import reference

RNG = np.random.default_rng(13)
PROBLEM = Problem(*RNG.standard_normal((3, 6, 4)))
SOFTMAX = reference(PROBLEM, 33)
NULL = reference(PROBLEM, 33, "taylor", 0)
TINY = 2.0**-70  # far below one unit of a float64 near one


def test_error_of_an_answer_is_seen_below_its_last_bit() -> None:
    # the residual is what makes the float64 nearest to the exact value not look exact
    error = computed_error(SOFTMAX.value, SOFTMAX)
    np.testing.assert_array_equal(error, -SOFTMAX.residual)
    assert 0 < np.abs(error).max() < 2.0**-53
    assert (exact_difference(SOFTMAX, SOFTMAX) == 0).all()


def test_summary_of_a_known_error() -> None:
    error = np.full(SOFTMAX.value.shape, 0.5)
    error[0, 0] = -2.0
    summary = summarise(error, SOFTMAX, SOFTMAX, FORMATS["float32"])
    assert (summary.max, summary.median, summary.p95) == (2.0, 0.5, 0.5)
    assert summary.rms == pytest.approx(math.sqrt((23 * 0.25 + 4) / 24), rel=1e-15)
    norm = math.sqrt(math.fsum(SOFTMAX.value.ravel() ** 2) / 24)
    assert summary.relative == pytest.approx(summary.rms / norm, rel=1e-14)


@pytest.mark.parametrize("planted", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("everywhere", [False, True])
def test_special_values_are_the_largest_error(planted: float, everywhere: bool) -> None:
    answer = SOFTMAX.value.copy()
    answer[(..., slice(None)) if everywhere else (2, 1)] = planted
    error = computed_error(answer, SOFTMAX)
    summary = summarise(error, SOFTMAX, SOFTMAX, FORMATS["float64"])
    assert summary.max == summary.rms == summary.relative == np.inf
    assert summary.bits_max == 64
    assert summary.median == (
        np.inf if everywhere else magnitudes(error).ravel()[np.argsort(magnitudes(error).ravel())[11]]
    )
    assert skill(error, exact_difference(NULL, SOFTMAX)) == -np.inf


def test_a_swapped_row_is_an_error() -> None:
    answer = SOFTMAX.value[[1, 0, 2, 3, 4, 5]]
    assert summarise(computed_error(answer, SOFTMAX), SOFTMAX, SOFTMAX, FORMATS["float64"]).relative > 0.01


def test_an_exact_value_that_does_not_exist_is_an_infinite_error() -> None:
    undefined = reference(Problem([[1.0]], [[-1.0]], [[3.0]], scale=1.0), 33, "taylor", 1)
    error = computed_error(np.array([[3.0]]), undefined)
    summary = summarise(error, undefined, reference(undefined.problem), FORMATS["float32"])
    assert (summary.max, summary.bits_mean) == (np.inf, 32.0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("steps", [0, 1, 3, 1023])
def test_bits_of_error_count_steps_of_the_format(name: str, steps: int) -> None:
    format_ = FORMATS[name]
    one = reference(Problem([[0.0]], [[0.0]], [[1.0]]))
    error = np.array([[steps * float(np.finfo(format_.dtype).eps)]])
    assert bits_of_error(error, one, format_).tolist() == [[math.log2(1 + steps)]]


def test_skill_and_ratio() -> None:
    null_error = exact_difference(NULL, SOFTMAX)
    assert skill(null_error, null_error) == 0.0
    assert skill(np.zeros_like(null_error), null_error) == 1.0
    assert skill(3 * null_error, null_error) == pytest.approx(-2.0)
    assert [ratio(0.0, 0.0), ratio(1.0, 0.0), ratio(np.inf, np.inf), ratio(1.0, 4.0)] == [0.0, np.inf, np.inf, 0.25]


def test_root_mean_square_neither_overflows_nor_underflows() -> None:
    assert root_mean_square(np.array([3e200, 4e200])) == pytest.approx(math.sqrt(12.5) * 1e200)
    assert root_mean_square(np.array([3e-200, 4e-200])) == pytest.approx(math.sqrt(12.5) * 1e-200)
    assert root_mean_square(np.zeros(3)) == 0.0


def test_logit_statistics_count_attended_pairs_only() -> None:
    problem = Problem([[1.0], [2.0]], [[3.0], [-50.0]], [[1.0], [1.0]], scale=0.5, mask=np.array([[True, False]] * 2))
    largest, spread = logit_statistics(problem)
    assert largest == 3.0  # logits 1.5 and 3
    assert spread == pytest.approx(0.75)
