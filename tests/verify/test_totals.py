"""Sums over keys in balls: relative to the largest attended weight, and of magnitudes where these are asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import factorial
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from tests.cases import named
from verify.mechanisms import named_member
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.parallel import blocks as block
from verify.problem import Problem
from verify.truth import totals
from verify.truth.totals import weighted_sums

FAR = 1e200


def sums_of(problem: Problem, name: str, **options: Any) -> Any:
    """Return the sums of one block at 300 bits: rows of numerators and, last, the sum of weights."""
    (whole,) = block.blocks_of(problem)
    member = named_member(name)
    with flint_precision(300):
        return weighted_sums(whole, [member], **options)[member].sums.tolist()


FAR_KEYS = [[1.0, 1e9, 1.0], [1.0, 1e9 - 1, 1.0], [1.0, 7.0, 1.0]]

# Problems, and where the largest attended logit of every row stands; keys that no row attends to would not matter
TOPS = {
    "both signs": (Problem([[1.0], [-1.0]], [[900.0], [-900.0], [899.0]], np.ones((3, 1)), scale=1.0), [0, 1]),
    "all negative": (Problem([[1.0]], [[-900.0], [-901.0]], np.ones((2, 1)), scale=1.0), [0]),
    "negative, the largest masked": (
        Problem(
            [[1.0]] * 2, [[-900.0], [-901.0], [0.0]], np.ones((3, 1)), 1.0, mask=[[True] * 2 + [False], [True] * 3]
        ),
        [0, 2],
    ),
    "another's key is larger": (Problem([[1.0]] * 2, [[-800.0], [-50.0]], np.ones((2, 1)), 1.0, causal=True), [0, 1]),
    # float64 is off by up to 2**31 in sums of 1e25
    "float64 sees nothing": (Problem([[1e25, 1.0, -1e25]], FAR_KEYS, np.ones((3, 1)), scale=1.0), [0]),
    "float64 sees nothing, the largest masked": (
        Problem([[1e25, 1.0, -1e25]] * 2, FAR_KEYS, np.ones((3, 1)), 1.0, mask=[[False, False, True], [True] * 3]),
        [2, 0],
    ),
    "beyond float64, the largest masked": (
        Problem([[FAR]] * 2, [[FAR], [1.0]], np.ones((2, 1)), scale=1.0, mask=[[False, True], [True, True]]),
        [1, 0],
    ),
}


@pytest.mark.parametrize("name", TOPS)
def test_softmax_weights_are_relative_to_the_largest_that_is_attended(name: str) -> None:
    # float64 finds the largest to within d (d + 3) 2**-53 of 900, 4e-13, and balls where that would be too much; of 300
    # bits, logits of 1e25 that cancel take 83
    problem, tops = TOPS[name]
    (head,) = problem.each_head()
    found = sums_of(problem, "softmax")
    for row, (query, seen, top) in enumerate(zip(head.q, head.attended(), tops, strict=True)):
        logits = [
            sum((Fraction(a) * Fraction(b) for a, b in zip(query.tolist(), key, strict=True)), Fraction(0))
            for key in head.k[seen].tolist()
        ]
        largest = logits[np.flatnonzero(seen).tolist().index(top)]
        assert largest == max(logits)
        with mpmath_precision(400):
            exact = sum(mp.exp(mp.mpf((s - largest).numerator) / (s - largest).denominator) for s in logits)
            total = found[row][-1]
            assert abs(mp.log(mp.mpf(total.mid().str(60, radius=False)) / exact)) <= 1e-12
            assert total.rel_accuracy_bits() > 200


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_magnitudes_of_taylor_sums_are_those_of_every_term(order: int) -> None:
    # terms s^p / p! of either sign, times order!: binary fractions of few digits, and so exact
    q, k, v = [[1.0, 2.0], [-3.0, 0.5]], [[-1.0, 0.0], [2.0, -3.0], [0.0, 1.0]], [[1.0, -2.0], [-3.0, 0.0], [5.0, 7.0]]
    problem = Problem(q, k, v, scale=1.0)
    for magnitudes in (False, True):
        found = sums_of(problem, named("taylor", order), magnitudes=magnitudes)
        for row, query in zip(found, q, strict=True):
            logits = [
                sum((Fraction(a) * Fraction(b) for a, b in zip(query, key, strict=True)), Fraction(0)) for key in k
            ]
            ones = [[*value, 1.0] for value in v]
            if magnitudes:
                logits, ones = [abs(s) for s in logits], [[abs(x) for x in value] for value in ones]
            terms = [sum(s**p * factorial(order) / factorial(p) for p in range(order + 1)) for s in logits]
            for j in range(3):
                exact = sum(Fraction(term) * Fraction(value[j]) for term, value in zip(terms, ones, strict=True))
                assert row[j].is_exact()
                assert Fraction(float(row[j])) == exact


@pytest.mark.parametrize("name", ["softmax", "taylor:order=2", "elu", "mean"])
def test_a_tile_that_no_row_sees_adds_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come three at a time; of the rows, one is taken that sees the last tile alone, or the first and the last."""
    rng = np.random.default_rng(59)
    q, k, v = rng.standard_normal((2, 2)), rng.standard_normal((9, 2)), rng.standard_normal((9, 1))
    far, apart = np.arange(9) >= 6, np.arange(9) % 6 < 3
    (whole,) = block.blocks_of(Problem(q, k, v, mask=np.stack([far | (np.arange(9) == 4), far])))
    monkeypatch.setattr(totals, "tile_keys", lambda *given: 3)
    member = named_member(name)
    for seen in (far, apart):
        one = replace(whole.take(np.array([False, True])), k=k, v=v, attended=seen[None])
        (less,) = block.blocks_of(Problem(q[1:], k[seen], v[seen]))
        with flint_precision(300):
            found, expected = (weighted_sums(b, [member])[member].sums.tolist()[0] for b in (one, less))
            ratios = [row[0] / row[1] for row in (found, expected)]  # a factor of the row cancels
            assert abs(ratios[0] - ratios[1]) < arb(10) ** -80
            assert found[1] > 0
