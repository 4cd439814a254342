"""The symmetric monomial basis: features of each degree and their exact coefficients.

Monomials of degree p are x_i1 ... x_ip with i1 <= ... <= ip, SA (7), and stand here ordered by their *last* index.
Those whose last index is j are x_j times the monomials of degree p - 1 in x_0 .. x_j, and these are the first
C(j + p - 1, p - 1) of that degree: every degree is slices of the one below times one row, without a gather.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray


def slice_lengths(head_size: int, degree: int) -> list[int]:
    """Return for every last index j how many monomials of degree - 1 it multiplies, C(j + degree - 1, degree - 1)."""
    return [comb(j + degree - 1, degree - 1) for j in range(head_size)]


def each_degree(tokens: NDArray[Any], order: int) -> Iterator[NDArray[Any]]:
    """Yield Phi_0 .. Phi_order of SA (10) for tokens [d_k, n]: arrays [C(d_k + p - 1, p), n] in the dtype of tokens.

    One multiplication per monomial; features run along rows and tokens along columns, so that slices are contiguous.
    """
    size, count = tokens.shape
    below = np.ones((1, count), dtype=tokens.dtype)
    yield below
    for degree in range(1, order + 1):
        lengths = slice_lengths(size, degree)
        features = np.empty((sum(lengths), count), dtype=tokens.dtype)
        first = 0
        for j, length in enumerate(lengths):
            np.multiply(below[:length], tokens[j], out=features[first : first + length])
            first += length
        yield features
        below = features


def exponent_factorials(head_size: int, order: int) -> Iterator[NDArray[Any]]:
    """Yield for degrees 0 .. order the product of the factorials of each monomial's exponents, exact integers.

    Shape [C(d_k + p - 1, p)]; int64 where p! fits, Python integers beyond.  Appending index j to a monomial in which j
    already has exponent e multiplies the product by e + 1.
    """
    below: NDArray[Any] = np.ones(1, dtype=np.int64)
    last_exponent: NDArray[Any] = np.zeros(1, dtype=np.int64)
    yield below
    for degree in range(1, order + 1):
        if degree == _FIRST_BEYOND_INT64:
            below = below.astype(object)
        lengths = slice_lengths(head_size, degree)
        products = np.empty(sum(lengths), dtype=below.dtype)
        exponents = np.empty(sum(lengths), dtype=np.int64)
        first = 0
        for j, length in enumerate(lengths):
            # the tail of the slice, added by index j itself, ends in j already; at degree 1 there is no such tail
            others = comb(j + degree - 2, degree - 1) if degree > 1 else length
            repeats = np.ones(length, dtype=np.int64)
            repeats[others:] += last_exponent[others:length]
            exponents[first : first + length] = repeats
            products[first : first + length] = below[:length] * repeats
            first += length
        yield products
        below, last_exponent = products, exponents


_FIRST_BEYOND_INT64 = 21  # 20! < 2**63 < 21!


def multiplicities(head_size: int, degree: int) -> list[int]:
    """Return C_p of SA (8) for every monomial of a degree: p! / (product of the factorials of the exponents)."""
    *_, products = exponent_factorials(head_size, degree)
    return [factorial(degree) // int(product) for product in products]


def monomial_indices(head_size: int, degree: int) -> list[tuple[int, ...]]:
    """Return the rows of the index matrix M_p of SA (11), i1 <= ... <= ip, in the order of this module."""
    below: list[tuple[int, ...]] = [()]
    for p in range(1, degree + 1):
        below = [(*m, j) for j, length in enumerate(slice_lengths(head_size, p)) for m in below[:length]]
    return below
