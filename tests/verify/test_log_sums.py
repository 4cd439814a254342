"""Logarithms of sums of weights against plain loops, and parts of the keys merged by them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from tests.people import BITS, answer, drawn
from tests.verify.test_people import WEIGHTS
from verify.errors import InvalidRequestError
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem
from verify.truth import Reference, merged, reference

COUNT = 125


def outside(value: Any, radius: Any, expected: Any) -> list[tuple[int, ...]]:
    """Return the places whose number is not where it should be, minus infinity and NaN included."""
    wrong = []
    with mpmath_precision(BITS):
        for place in np.ndindex(value.shape):
            found, right = float(value[place]), expected[place]
            unsure = mp.mpf(2) ** (200 - BITS)  # of the loops themselves, whose logits have up to 130 bits
            if np.isnan(found) or np.isinf(found):
                good = mp.isnan(right) if np.isnan(found) else right == found
            else:
                good = mp.isfinite(right) and abs(mp.mpf(found) - right) <= mp.mpf(float(radius[place])) + unsure
            if not good:
                wrong.append(place)
    return wrong


def logarithms(sums: Any, base: int | None) -> Any:
    """Return logarithms of sums of weights: of 0 minus infinity where nothing is added up, NaN of what has none."""
    found = np.empty(sums.shape, object)
    with mpmath_precision(BITS):
        for place in np.ndindex(sums.shape):
            z = sums[place]
            found[place] = mp.log(z) / (mp.log(2) if base else 1) if z > 0 else mp.nan
    return found


@pytest.mark.parametrize("part", range(4))
def test_plain_loops_lie_within_the_radius(part: int) -> None:
    for seed in range(9000 + part * COUNT, 9000 + (part + 1) * COUNT):
        given, name = drawn(seed), list(WEIGHTS)[seed % 4]
        problem = Problem(**given, name=f"problem {seed}")
        truth = reference(problem, 30, name)
        _, sums = answer(given, WEIGHTS[name])
        for base in (None, 2):
            expected = logarithms(sums, base)
            if problem.sinks is None:
                expected[~problem.attended_rows] = mp.mpf("-inf")
            value, radius = truth.log_sum_exp(base)
            assert not outside(value, radius, expected), (seed, name, base)
            # what is claimed is narrow: half a unit of float64 beside 30 digits
            known = np.isfinite(value) & (np.abs(value) > 1e-25)
            assert (radius[known] <= 1.2e-16 * np.abs(value[known]) + 1e-320).all(), seed


@pytest.mark.parametrize("part", range(2))
def test_parts_of_the_keys_merged_are_the_whole(part: int) -> None:
    for seed in range(9500 + part * 75, 9500 + (part + 1) * 75):
        rng = np.random.default_rng((1303, seed))
        given = drawn(seed)
        whole = Problem(**given, name=f"problem {seed}")
        first = rng.random(whole.keys) < 0.5
        mask = np.ones(whole.keys, bool) if whole.mask is None else whole.mask
        halves = [whole.but(mask=mask & first), whole.but(mask=mask & ~first, sinks=None)]
        name = ["softmax", "softmax", "taylor:order=2"][seed % 3]
        outputs, logs = merged([reference(half, 40, name) for half in halves])
        truth = reference(whole, 40, name)
        for found, right in ((outputs, truth.balls), (logs, truth.logs)):
            for place in np.ndindex(found.shape):
                one, other = found.ball(place), right.ball(place)
                assert one.is_finite() == other.is_finite(), (seed, place)
                assert not one.is_finite() or one.overlaps(other), (seed, place)
                assert not one.is_finite() or one.rad() <= abs(one) * 1e-35 + 1e-35, (seed, place)


def half(keys: int) -> Reference:
    return reference(Problem(np.ones((2, 3)), np.ones((keys, 3)), np.ones((keys, 1))), 20)


def test_what_cannot_be_merged_is_refused() -> None:
    other = reference(Problem(np.ones((3, 3)), np.ones((4, 3)), np.ones((4, 1))), 20)
    with pytest.raises(InvalidRequestError, match=re.escape("2 parts of shapes [[2, 1], [3, 1]]")):
        merged([half(3), other])
    with pytest.raises(InvalidRequestError, match="0 parts"):
        merged([])
    cubes = [reference(Problem([[-4.0]], [[1.0]], [[1.0]], scale=1.0), 20, "taylor:order=3")] * 2
    with pytest.raises(InvalidRequestError, match=re.escape("row [0] without a logarithm")):
        merged(cubes)
    # what would count twice, or was asked otherwise
    k, v = np.ones((4, 3)), np.ones((4, 1))
    sunk = reference(Problem(np.ones((2, 3)), k, v, sinks=0.5), 20)
    with pytest.raises(InvalidRequestError, match="sinks in 2 parts, which would count 2 times"):
        merged([sunk, sunk])
    for part in ({"q": np.zeros((2, 3))}, {"scale": 1.0}, {"softcap": 2.0}):
        with pytest.raises(InvalidRequestError, match=f"parts with another {next(iter(part))}"):
            merged([half(4), reference(Problem(**({"q": np.ones((2, 3)), "k": k, "v": v} | part)), 20)])
    with pytest.raises(InvalidRequestError, match="logarithms to base 10; expected 2"):
        half(3).log_sum_exp(10)


def test_sums_that_are_one_have_the_logarithm_zero() -> None:
    # one key of logit 0; by Taylor of order 2 its weight is 2 / 2
    for name in ("softmax", "taylor:order=2"):
        value, radius = reference(Problem([[0.0]], [[1.0]], [[3.0]]), 30, name).log_sum_exp()
        assert (value.tolist(), radius.tolist()) == ([0.0], [5e-324])


def test_a_formula_with_a_factor_left_open_has_none() -> None:
    assert np.isnan(reference(Problem([[1.0]], [[1.0]], [[3.0]]), 30, "elu").log_sum_exp()[0]).all()
