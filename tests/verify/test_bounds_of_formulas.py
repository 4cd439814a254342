"""Bounds on how far a formula is from softmax: float64 on the way is rounded outwards, however small numbers are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb

from verify.bounds import output_bounds
from verify.bounds.logits import above, extreme_logits, logit_range
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.precision import flint_precision
from verify.problem import Problem


def logits(problem: Problem) -> list[Fraction]:
    """Return all logits as rationals; the scale is given."""
    assert problem.scale is not None
    q, k = (x.reshape(-1, problem.head_size).tolist() for x in (problem.q, problem.k))
    scale = Fraction(problem.scale)
    return [scale * sum(Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)) for x in q for y in k]


def assert_within_range(problem: Problem) -> None:
    low, high = extreme_logits(problem)
    found = logits(problem)
    assert Fraction(low) <= min(found)
    assert max(found) <= Fraction(high)


@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_ranges_of_logits_hold_the_exact_ones(d: int) -> None:
    # float64 is off by some of d + 2 roundings in most of these, on either side; of sums that cancel by more than they
    rng = np.random.default_rng(621)
    for _ in range(60):
        q, k = rng.standard_normal((2, 1, d)) * 10 ** rng.uniform(-9, 9, (2, 1, d))
        assert_within_range(Problem(q, k, [[1.0]], scale=float(rng.uniform(-3, 3))))
    for _ in range(20):
        q = rng.standard_normal((1, d))
        assert_within_range(Problem(np.hstack([q, q]), np.hstack([q + 2.0**-30, -q]), [[1.0]], scale=0.7))


def test_ranges_of_logits_are_not_wider_than_a_few_roundings() -> None:
    # less than twice d + 3 of them on either side, and its own evaluation
    q = np.full((1, 5), 0.3)
    problem = Problem(q, q, [[1.0]], scale=0.7)
    low, high = extreme_logits(problem)
    (exact,) = logits(problem)
    assert Fraction(high) - Fraction(low) <= exact * (4 * 8 + 2) * Fraction(1, 2**53)


@pytest.mark.parametrize("scale", [1.0, 2.0**900, -(2.0**1000), 2.0**-30])
def test_ranges_of_logits_whose_products_underflow(scale: float) -> None:
    # 2^-1080 is no number of float64: neither are products of it, whatever they are multiplied by afterwards
    small = np.array([[2.0**-540, 2.0**-537]])
    assert_within_range(Problem(small, 1.5 * small, [[1.0]], scale=scale))
    assert_within_range(Problem(-small, 1.5 * small, [[1.0]], scale=scale))


def test_ranges_are_of_attended_pairs() -> None:
    mask = np.array([[True, False], [False, False]])
    problem = Problem([[1.0], [2.0]], [[3.0], [-50.0]], [[1.0], [1.0]], scale=0.5, mask=mask)
    (head,) = problem.each_head()
    lows, highs = logit_range(head, slice(0, 2), head.attended())
    assert lows[0] == pytest.approx(1.5)
    assert highs[0] == pytest.approx(1.5)
    assert (lows[1], highs[1]) == (np.inf, -np.inf)


def bounds_of(v: Any, share: float) -> Any:
    """Return bounds on outputs for keys that all may be moved by a share of the range of v."""
    v = np.asarray(v, np.float64)
    return output_bounds(Problem([[0.0]], np.zeros((len(v), 1)), v), lambda low, high: share)[0]


@pytest.mark.parametrize("size", [1.0, 2.0**-1070, 2.0**-1060, 2.0**900], ids=str)
def test_a_share_of_a_range_is_rounded_upwards(size: float) -> None:
    # the range and the product are off by half a step each, in either direction, among the smallest numbers by much
    rng = np.random.default_rng(622)
    v = rng.standard_normal((2, 300)) * size
    for share in rng.random(10):
        found = bounds_of(v, float(share))
        # a step for the range, half of one for the product, and one upwards: of 2^-52 of the number, or of 2^-1074
        for one, (a, b) in zip(map(Fraction, found.tolist()), v.T.tolist(), strict=True):
            exact = Fraction(float(share)) * abs(Fraction(a) - Fraction(b))
            assert exact <= one <= exact * (1 + Fraction(1, 2**50)) + 3 * Fraction(1, 2**1074)


def test_a_range_of_one_value_leaves_nothing_unless_weights_may_vanish() -> None:
    assert (bounds_of([[3.0], [3.0]], 0.25) == 0).all()
    # weights of both signs, or a sum of zero: what constant v gives is not known
    assert np.isinf(bounds_of([[3.0], [3.0]], np.inf)).all()
    far = Problem([[1.0]], [[-1.5], [-1.2]], [[3.0], [3.0]], scale=1.0)
    bound = TAYLOR.formula_bound(far, TAYLOR.member(order=1))
    assert bound is not None
    assert np.isinf(bound).all()


def test_a_number_above_a_ball_is_not_below_any_of_it() -> None:
    # half of all rationals are above their nearest float64
    with flint_precision(200):
        for p in range(1, 60):
            for q in (3, 7, 11):
                found = above(arb(p) / q)
                assert Fraction(p, q) <= Fraction(found) <= Fraction(p, q) * (1 + Fraction(1, 2**51))
                assert Fraction(above(-(arb(p) / q))) >= Fraction(-p, q)


def test_what_is_seen_of_v_is_what_counts_wherever_it_stands() -> None:
    """Half of the keys, the first or the last: the others have values that are far away."""
    rng = np.random.default_rng(64)
    q, k = rng.standard_normal((2, 2)), rng.standard_normal((4, 2))
    for seen, v in ((slice(2, 4), [0.0, 10.0, 1.0, 2.0]), (slice(0, 2), [1.0, 2.0, 0.0, 10.0])):
        values = np.array(v)[:, None]
        mask = np.zeros((2, 4), dtype=bool)
        mask[:, seen] = True
        masked, alone = Problem(q, k, values, mask=mask), Problem(q, k[seen], values[seen])
        for order in (2, 4):
            member = TAYLOR.member(order=order)
            found, expected = (np.asarray(TAYLOR.formula_bound(problem, member)) for problem in (masked, alone))
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, expected, rtol=1e-9)
