from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement
from math import comb, factorial

import numpy as np
import pytest

from verify.errors import InvalidRequestError, TooLargeError
from verify.families.polynomial.basis import (
    each_degree,
    exponent_factorials,
    lexicographic_rank,
    lexicographic_unrank,
    monomial_indices,
    multiplicities,
    multiplicity,
    rank,
    unrank,
)
from verify.proofs import expanded_power

SMALL = [(d, p) for d in range(1, 6) for p in range(6)] + [(8, 4), (2, 22)]  # 22! is beyond 64-bit integers


def exponents(indices: tuple[int, ...], head_size: int) -> tuple[int, ...]:
    counts = Counter(indices)
    return tuple(counts[j] for j in range(head_size))


@pytest.mark.parametrize(("head_size", "degree"), SMALL)
def test_same_monomials_and_multiplicities_as_the_expanded_power(head_size: int, degree: int) -> None:
    monomials = [exponents(m, head_size) for m in monomial_indices(head_size, degree)]
    numeric = dict(zip(monomials, multiplicities(head_size, degree), strict=True))
    assert len(numeric) == len(monomials)  # none twice
    assert numeric == expanded_power(head_size, degree)
    assert len(numeric) == comb(head_size + degree - 1, degree)


@pytest.mark.parametrize(("head_size", "order"), [(1, 5), (4, 5), (8, 3)])
def test_features_are_the_products_of_their_indices(head_size: int, order: int) -> None:
    tokens = np.random.default_rng(4).integers(-5, 6, (head_size, 7)).astype(np.float64)  # products stay exact
    for degree, features in enumerate(each_degree(tokens, order)):
        expected = [np.prod(tokens[list(m)], axis=0) for m in monomial_indices(head_size, degree)]
        np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize(("head_size", "order"), [(3, 6), (8, 4)])
def test_weighted_inner_product_is_the_power(head_size: int, order: int) -> None:
    # SA (8) in integers: sum of C_p Phi_p(q) Phi_p(k) = (q.k)^p, no rounding anywhere
    q, k = np.random.default_rng(5).integers(-4, 5, (2, head_size, 1)).astype(object)
    for degree, (left, right) in enumerate(zip(each_degree(q, order), each_degree(k, order), strict=True)):
        weights = np.array(multiplicities(head_size, degree), dtype=object)
        assert int((weights * left[:, 0] * right[:, 0]).sum()) == int((q * k).sum()) ** degree


def test_exponent_factorials_are_exact_beyond_64_bits() -> None:
    *_, products = exponent_factorials(1, 25)
    assert products.tolist() == [15511210043330985984000000]  # 25!


@pytest.mark.parametrize(("head_size", "degree"), SMALL)
def test_positions_without_the_list(head_size: int, degree: int) -> None:
    listed = monomial_indices(head_size, degree)
    assert [rank(m) for m in listed] == list(range(len(listed)))
    assert [unrank(position, degree) for position in range(len(listed))] == listed
    assert [multiplicity(m) for m in listed] == multiplicities(head_size, degree)
    # the paper's order is that of the standard library, i1 first
    papers = list(combinations_with_replacement(range(head_size), degree))
    assert [lexicographic_rank(m, head_size) for m in papers] == list(range(len(papers)))
    assert [lexicographic_unrank(position, head_size, degree) for position in range(len(papers))] == papers


def test_a_hundred_thousand_monomials_come_back() -> None:
    drawn = np.sort(np.random.default_rng(64).integers(0, 64, (100_000, 10)), axis=1).tolist()
    assert all(list(unrank(rank(m), 10)) == m for m in drawn)


def test_integers_of_any_size() -> None:
    last = (127,) * 15
    assert rank(last) == comb(142, 15) - 1
    assert unrank(rank(last), 15) == last
    assert lexicographic_rank(last, 128) == comb(142, 15) - 1
    assert multiplicity(range(128)) == factorial(128)


def test_lists_that_do_not_fit_are_refused_with_their_size() -> None:
    with pytest.raises(TooLargeError, match="621,324,937,376 monomials of degree 10 in 64 variables"):
        monomial_indices(64, 10)


def test_what_is_no_monomial() -> None:
    for call in (
        lambda: rank([1, 0]),
        lambda: rank([-1, 0]),
        lambda: lexicographic_rank([0, 3], 3),
        lambda: unrank(-1, 2),
        lambda: unrank(1, 0),
        lambda: lexicographic_unrank(6, 3, 2),
    ):
        with pytest.raises(InvalidRequestError, match="expected"):
            call()
