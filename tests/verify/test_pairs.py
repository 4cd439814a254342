"""What bounds are made of: sizes of a head, doubts of float64 arithmetic, and when something may overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mp

import verify
from verify.bounds import Pairs, accumulated, kept
from verify.bounds.kept import Kept
from verify.bounds.pairs import largest_of
from verify.families.polynomial.kernel import polynomial_forms
from verify.mechanisms.registry import named_variant
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem

FLOAT64, FLOAT16 = ARITHMETICS["float64"], ARITHMETICS["float16"]


def pairs_of(problem: Problem, arithmetic: Any = FLOAT64, rows: Any = None) -> Pairs:
    (head,) = problem.each_head()
    return Pairs(problem, head, np.arange(problem.queries) if rows is None else np.array(rows), arithmetic, accumulated)


def problem_of(*sizes: int, by: float = 1.0, **named: Any) -> Problem:
    n_q, n_k, d, d_v = sizes
    rng = np.random.default_rng(57)
    q, k, v = (rng.standard_normal(shape) for shape in ((n_q, d), (n_k, d), (n_k, d_v)))
    return Problem(by * q, k, v, **named)


def test_sizes_are_those_of_the_head_whatever_rows_are_taken() -> None:
    problem = problem_of(3, 5, 2, 4)
    pairs = pairs_of(problem, rows=[1])
    assert (pairs.queries, pairs.n, pairs.d) == (3, 5, 2)
    assert (pairs.q.shape, pairs.k.shape, pairs.logits.shape, pairs.attended.shape) == ((1, 2), (5, 2), (1, 5), (1, 5))
    assert pairs.values == np.abs(problem.v).max()
    assert pairs.components() == max(np.abs(problem.q).max(), np.abs(problem.k).max())


def test_the_largest_of_numbers() -> None:
    assert [largest_of(np.array(x)) for x in ([], [-3.0, -2.0], [2.0, 5.0], [1.0, np.nan])] == [0.0, 0.0, 5.0, np.inf]
    assert [largest_of(np.array(x), 1.0) for x in ([], [0.5], [2.0])] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("by", [1.0, 1e3, 1e6])
def test_exponentials_are_off_by_no_more_than_they_say(by: float) -> None:
    """Two logits are off, by the doubt each: no less than twice that can be said, and no more than four times is."""
    problem = problem_of(4, 30, 8, 1, by=by)
    pairs = pairs_of(problem)
    doubt = float(pairs.logit_doubt().max())
    nothing = np.zeros_like(pairs.logits)
    bound = pairs.exponentials(pairs.logits, nothing, np.zeros((4, 1)), doubt, 0.0)
    assert 2 * doubt < bound.evaluation <= 4 * doubt + 2.0**-45
    with mpmath_precision(200):
        scale = 1 / mp.sqrt(8)
        for i, q in enumerate(problem.q):
            exact = [
                scale * mp.fsum(mp.mpf(float(x)) * mp.mpf(float(y)) for x, y in zip(q, k, strict=True))
                for k in problem.k
            ]
            off = [abs(float(logit) - float(pairs.logits[i, t])) for t, logit in enumerate(exact)]
            assert max(off) <= doubt
            top = exact[int(np.argmax(pairs.logits[i]))]
            for t, logit in enumerate(exact):
                weight = mp.exp(logit - top)
                assert abs(weight - float(bound.weights[i, t])) <= bound.evaluation * bound.size[i, t] + 1e-300


def test_logits_are_in_doubt_by_what_float64_does_to_them() -> None:
    """Twice d products, d - 1 sums and three roundings more, relative to L = |scale| sum_i |q_i k_i|."""
    pairs = pairs_of(problem_of(3, 4, 5, 1, scale=-3.0))
    expected = 2 * 8 * 2.0**-53 * 3.0 * (np.abs(pairs.q) @ np.abs(pairs.k).T)
    np.testing.assert_allclose(pairs.logit_doubt(), expected, rtol=1e-12)
    # where all products vanish, each of d is off by the smallest number, times a scale above 1
    tiny = pairs_of(Problem(np.full((1, 5), 1e-200), np.full((1, 5), 1e-200), [[1.0]], 8.0))
    assert tiny.logit_doubt().item() == 5 * 2.0**-1021 * 8.0
    assert tiny.logits.item() == 0.0


def test_what_may_overflow_is_said_from_half_the_largest_number_on() -> None:
    pairs = pairs_of(Problem([[1.0]], [[1.0]], [[2.0]]), FLOAT16)
    half = 65504 / 2
    assert not pairs.overflows(half / 2)  # with values of the size 2
    assert pairs.overflows(np.nextafter(half / 2, np.inf))
    assert pairs.overflows(np.nan)
    for name in ("sums", "factors"):
        assert not pairs.overflows(1.0, **{name: half})
        assert pairs.overflows(1.0, **{name: np.nextafter(half, np.inf)})
    wide = pairs_of(Problem([[300.0]], [[1.0]], [[0.5]], 100.0), FLOAT16)
    assert not pairs_of(Problem([[300.0]], [[1.0]], [[0.5]], 0.01), FLOAT16).overflows(half)
    assert not pairs_of(Problem([[300.0]], [[1.0]], [[0.5]], -109.0), FLOAT16).overflows(1.0)
    assert pairs_of(Problem([[300.0]], [[1.0]], [[0.5]], -110.0), FLOAT16).overflows(1.0)
    assert not wide.overflows(1.0)


def test_what_is_kept_overflows_from_half_the_largest_number_on() -> None:
    found: Kept = kept(pairs_of(problem_of(1, 3, 2, 1)), "float16", compensated=False, chunk=1)
    assert found.largest == 65504
    assert [found.overflows(x) for x in (65504 / 2, np.nextafter(65504 / 2, np.inf), np.nan)] == [False, True, True]


@pytest.mark.parametrize(("tokens", "value", "fits"), [(30, 1.0, True), (30, 600.0, True), (30, 1200.0, False)])
def test_a_state_that_may_leave_its_storage_has_no_bound(tokens: int, value: float, fits: bool) -> None:
    """In float16 there is room for half of 65,504: 30 tokens of features up to 1 + 0.5 with values of that size."""
    k = np.full((tokens, 2), 0.5)
    problem = Problem(k[:1], k, np.full((tokens, 1), value))
    variant = named_variant("elu/stream:storage=float16")
    exact = verify.reference(problem, 20, "elu").value
    bound = variant.rounding_bound(problem, exact, FLOAT64)
    assert bound is not None
    assert np.isfinite(bound.sure).all() == fits


@pytest.mark.parametrize("name", ["taylor:order=2/packed:storage=float32", "logexp/stream:storage=float32"])
def test_a_state_that_fits_its_storage_has_a_bound(name: str) -> None:
    problem, variant = problem_of(3, 4, 2, 1), named_variant(name)
    exact = verify.reference(problem, 20, variant.member).value
    bound = variant.rounding_bound(problem, exact, FLOAT64)
    assert bound is not None
    assert np.isfinite(bound.sure).all()


def test_costs_of_a_polynomial_of_ones_own_are_published_nowhere() -> None:
    assert [form.published for form in polynomial_forms()] == [False] * len(polynomial_forms())
    assert any(form.published for form in polynomial_forms(published=True))
