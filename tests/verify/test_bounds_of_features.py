"""Bounds on weights phi(q).phi(k): what features, their products and sums through a state are each off by."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from tests.verify.test_bounds_of_weights import F32, MIXED, U, assert_share
from verify.attention import Member, Variant
from verify.bounds import Pairs, WeightBound, accumulated
from verify.families import FeatureKernel
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.fields import Field, Number
from verify.problem import Problem


class Powers(FeatureKernel):
    """phi(x) = x, or x x: nothing is rounded, or one product in each component."""

    name, description, source = "powers", "components or their squares", "tests"

    def __init__(self, squared: bool) -> None:
        self.squared = squared

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        return [c * c for c in x] if self.squared else list(x)

    def feature_count(self, head_size: int, member: Member) -> int:
        return head_size


def bound_of(
    form: str, problem: Problem, arithmetic: Arithmetic, *, squared: bool = False, **options: int
) -> WeightBound:
    chosen = Variant(Powers(squared).member(), form, tuple(options.items()))
    (head,) = problem.each_head()
    rounding = chosen.how.rounding
    assert rounding is not None
    pairs = Pairs(problem, head, np.arange(problem.queries), arithmetic, accumulated)
    return rounding(pairs, chosen.member, **dict(chosen.options))


@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("squared", [False, True])
def test_pairs_round_features_their_products_and_the_weight(d: int, squared: bool) -> None:
    problem = Problem(np.full((2, d), 1.5), np.full((2, d), 1.25), np.ones((2, 1)), causal=True)
    weight = d * Fraction(15, 8) ** (1 + squared)
    of_features = (1 + U) ** (2 * squared)
    found = bound_of("pairs", problem, F32, squared=squared)
    # the first of d products goes through d - 1 additions
    assert_share(found.moved[0, 0], weight * (of_features * (1 + U) ** d - 1), 0.9999)
    assert_share(found.spread, (1 + U) ** 2 - 1)
    # products of bfloat16 are exact in float32; weights and features are rounded to it
    f = Fraction(1, 2**8)
    of_features = (1 + f) ** (2 * squared)
    found = bound_of("pairs", problem, MIXED, squared=squared)
    # second orders of three roundings of 2^-8
    assert_share(found.moved[0, 0], weight * (of_features * (1 + U) ** (d - 1) * (1 + f) - 1), 0.98)
    assert_share(found.spread, (1 + U) - 1)


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_streams_round_own_pairs_as_weights_and_others_as_features(chunk: int) -> None:
    d, n = 3, 4
    problem = Problem(np.full((n, d), 1.5), np.full((n, d), 1.25), np.ones((n, 1)), causal=True)
    weight, f = d * Fraction(15, 8) ** 2, Fraction(1, 2**8)
    own = weight * ((1 + f) ** 2 * (1 + U) ** (d - 1) * (1 + f) - 1)
    through = weight * ((1 + f) ** 2 - 1)
    found = bound_of("stream", problem, MIXED, squared=True, chunk=chunk)
    for row in range(n):
        for key in range(row + 1):
            inside = row // chunk == key // chunk
            assert_share(found.moved[row, key], own if inside else through, 0.98)
            assert_share(found.size[row, key], weight + (own if inside else through), 0.99)
    # the first token: chunk - 1 additions, one for each later chunk, a product and d - 1 additions to read it, and own
    # pairs are added
    found = bound_of("stream", problem, F32, chunk=chunk)
    assert_share(found.spread, (1 + U) ** (chunk + n // chunk - 1 + d + 1) - 1)
    assert (
        found.moved[np.tri(n, k=-chunk, dtype=bool)] < 2.0**-48
    ).all()  # features are exact, and no weight is formed


def test_values_that_underflow_are_multiplied_by_features() -> None:
    # each of n tokens and d features may lose the smallest number, times the other side's feature
    d, n = 2, 5
    problem = Problem(np.full((1, d), 8.0), np.full((n, d), 4.0), np.ones((n, 1)))
    found = bound_of("stream", problem, F32)
    smallest = 2 * F32.sums.smallest  # of factors and of sums
    assert found.absolute == 2 * d * (n + 2) * smallest * 8 * 4
