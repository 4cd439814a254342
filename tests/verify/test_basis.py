from __future__ import annotations

from collections import Counter
from math import comb

import numpy as np
import pytest

from verify.basis import each_degree, exponent_factorials, monomial_indices, multiplicities
from verify.symbolic import expanded_power

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
