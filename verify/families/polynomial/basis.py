"""The symmetric monomial basis: features of each degree and their exact coefficients.

Monomials of degree p are x_i1 ... x_ip with i1 <= ... <= ip, SA (7), and stand here ordered by their *last* index.
Those whose last index is j are x_j times the monomials of degree p - 1 in x_0 .. x_j, and these are the first
C(j + p - 1, p - 1) of that degree: every degree is slices of the one below times one row, without a gather.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import comb, factorial, isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import checked_order, checked_size, whole
from verify.errors import InvalidRequestError, TooLargeError

# What a list of all monomials of a degree may take.
LISTING_LIMIT = 2**30


def degree_feature_count(head_size: int, degree: int) -> int:
    """Return m_p = C(d_k + p - 1, p), the monomials of degree p. SA (7)."""
    d, p = checked_size("head size", head_size), checked_order(degree)
    return comb(d + p - 1, p)


def feature_count(head_size: int, order: int) -> int:
    """Return sum over p <= order of m_p = C(d_k + order, order), all monomials. SA (7), summed as in SA (13)."""
    d, n = checked_size("head size", head_size), checked_order(order)
    return comb(d + n, n)


def dense_feature_count(head_size: int, order: int) -> int:
    """Return sum over p <= order of d_k^p, the features without symmetry. SA (4)-(6)."""
    d, n = checked_size("head size", head_size), checked_order(order)
    return sum(d**p for p in range(n + 1))


def slice_lengths(head_size: int, degree: int) -> list[int]:
    """Return for every last index j how many monomials of degree - 1 it multiplies, C(j + degree - 1, degree - 1)."""
    d, p = checked_size("head size", head_size), checked_order(degree)
    return [comb(j + p - 1, p - 1) if p else 0 for j in range(d)]


def each_degree(tokens: NDArray[Any], order: int) -> Iterator[NDArray[Any]]:
    """Yield Phi_0 .. Phi_order of SA (10) for tokens [d_k, n]: arrays [C(d_k + p - 1, p), n] in the dtype of tokens.

    One multiplication per monomial; features run along rows and tokens along columns, so that slices are contiguous.
    """
    size, count = tokens.shape
    features = np.ones((1, count), dtype=tokens.dtype)
    yield features
    for degree in range(1, order + 1):
        below, features = features, np.empty((sum(slice_lengths(size, degree)), count), dtype=tokens.dtype)
        for rows, source, j, _ in slices(size, degree):
            np.multiply(below[source], tokens[j], out=features[rows])
        yield features


def slices(head_size: int, degree: int, *, by_exponent: bool = False) -> Iterator[tuple[slice, slice, int, int]]:
    """Yield (rows, source, j, e): these rows of a degree are the source rows of the degree below times x_j.

    by_exponent: split so that x_j has exponent e in all of these rows; otherwise e is 1 whatever the exponent.  Of the
    monomials that end in j, those with exponent e of x_j are x_j**e times all of degree p - e in x_0 .. x_{j-1}; those
    with the larger exponent come after.
    """
    first = 0
    for j, length in enumerate(slice_lengths(head_size, degree)):
        start = 0
        lengths = [comb(max(0, j + degree - e - 1), degree - e) for e in range(1, degree + 1)]
        for e, count in enumerate(lengths if by_exponent else [length], start=1):
            if count:
                yield slice(first, first + count), slice(start, start + count), j, e
                first += count
                start += count


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
    d, p = checked_size("head size", head_size), checked_order(degree)
    *_, products = exponent_factorials(d, p)
    return [factorial(p) // int(product) for product in products]


def multiplicity(indices: Sequence[int]) -> int:
    """Return C_p of SA (8) for one monomial x_i1 ... x_ip."""
    counts = Counter(indices)
    return factorial(len(indices)) // prod(factorial(count) for count in counts.values())


@dataclass(frozen=True)
class Alpha:
    """The coefficient alpha_p of SA (3), exactly: 1 / (denominator sqrt(radicand)); the radicand is 1 or no square."""

    denominator: int
    radicand: int

    def __str__(self) -> str:
        if self.radicand == 1:
            return str(Fraction(1, self.denominator))
        root = f"sqrt({self.radicand})"
        return f"1/{root}" if self.denominator == 1 else f"1/({self.denominator} {root})"


def alpha(degree: int, head_size: int) -> Alpha:
    """Return alpha_p = 1 / (p! c^p) of SA (3) for c = sqrt(d_k), exactly."""
    p, d = checked_order(degree), checked_size("head size", head_size)
    root = isqrt(d)
    if root * root == d:
        return Alpha(factorial(p) * root**p, 1)
    return Alpha(factorial(p) * d ** (p // 2), d if p % 2 else 1)


def monomial_indices(head_size: int, degree: int) -> list[tuple[int, ...]]:
    """Return the rows of the index matrix M_p of SA (11), i1 <= ... <= ip, in the order of this module.

    Raises TooLargeError if the list would need more than LISTING_LIMIT bytes.
    """
    d, highest = checked_size("head size", head_size), checked_order(degree)
    _check_listing(d, highest, 56 + 8 * highest)  # a tuple of pointers to small integers, and its place
    below: list[tuple[int, ...]] = [()]
    for p in range(1, highest + 1):
        below = [(*m, j) for j, length in enumerate(slice_lengths(d, p)) for m in below[:length]]
    return below


@dataclass(frozen=True)
class Monomial:
    """One monomial of a degree: its position here and in the paper's order, its indices and its multiplicity C_p."""

    position: int
    lexicographic_position: int
    indices: tuple[int, ...]
    multiplicity: int


def monomial_table(head_size: int, degree: int) -> list[Monomial]:
    """Return all monomials of a degree with what is known of each, to be shown.

    Raises TooLargeError if the table, as text, would need more than LISTING_LIMIT bytes.
    """
    d, p = checked_size("head size", head_size), checked_order(degree)
    _check_listing(d, p, 1024 + 136 * p)
    rows = zip(monomial_indices(d, p), multiplicities(d, p), strict=True)
    return [Monomial(i, lexicographic_rank(m, d), m, weight) for i, (m, weight) in enumerate(rows)]


def rank(indices: Sequence[int]) -> int:
    """Return the position of the monomial x_i1 ... x_ip, i1 <= ... <= ip, among those of its degree.

    sum over r = 1 .. p of C(i_r + r - 1, r): before the monomials with last index j stand those of degree p in x_0 ..
    x_{j-1}, which are C(j + p - 1, p); and so on for the rest of it.  The head size does not enter.
    """
    return sum(comb(index + r, r + 1) for r, index in enumerate(_sorted_indices(indices)))


def unrank(position: int, degree: int) -> tuple[int, ...]:
    """Return the indices i1 <= ... <= ip of the monomial of a degree that stands at a position: the inverse of `rank`.

    The last index is the largest j with C(j + p - 1, p) <= position.
    """
    place, highest = whole(position), whole(degree)
    if place is None or highest is None or place < 0 or highest < 0 or (highest == 0 and place):
        raise InvalidRequestError(
            f"position {position} at degree {degree}",
            "a position of at least 0, and 0 alone at degree 0",
            "count monomials from 0",
        )
    indices = []
    for r in range(highest, 0, -1):
        j = _last_index(place, r)
        place -= comb(j + r - 1, r)
        indices.append(j)
    return tuple(reversed(indices))


def lexicographic_rank(indices: Sequence[int], head_size: int) -> int:
    """Return the position of a monomial in the paper's order, by the first index, then the second: SA (7), (11).

    With i' = d_k - 1 - i read backwards, the first of one order is the last of the other: m_p - 1 - rank(i').
    """
    d = checked_size("head size", head_size)
    mirrored = _mirrored(_sorted_indices(indices), d)
    return comb(d + len(indices) - 1, len(indices)) - 1 - rank(mirrored)


def lexicographic_unrank(position: int, head_size: int, degree: int) -> tuple[int, ...]:
    """Return the indices of the monomial at a position of the paper's order: the inverse of `lexicographic_rank`."""
    d, p, place = checked_size("head size", head_size), checked_order(degree), whole(position)
    last = comb(d + p - 1, p) - 1
    if place is None or not 0 <= place <= last:
        raise InvalidRequestError(
            f"position {position} among the monomials of degree {degree} in {head_size} variables",
            f"a position from 0 to {last}",
            "count monomials from 0",
        )
    return _mirrored(unrank(last - place, p), d)


def _sorted_indices(indices: Sequence[int]) -> Sequence[int]:
    given = [whole(i) for i in indices]
    found = [i for i in given if i is not None]
    if len(found) < len(given) or any(a > b for a, b in pairwise(found)) or (found and found[0] < 0):
        raise InvalidRequestError(
            f"indices {list(indices)}", "0 <= i1 <= ... <= ip", "sort them: a monomial has its indices in order"
        )
    return found


def _mirrored(indices: Sequence[int], head_size: int) -> tuple[int, ...]:
    if indices and indices[-1] >= head_size:
        raise InvalidRequestError(
            f"index {indices[-1]} at head size {head_size}", f"indices up to {head_size - 1}", "count them from 0"
        )
    return tuple(head_size - 1 - i for i in reversed(indices))


def _last_index(position: int, degree: int) -> int:
    """Return the largest j >= 0 with C(j + degree - 1, degree) <= position, by doubling and halving."""
    low, high = 0, 1
    while comb(high + degree - 1, degree) <= position:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if comb(middle + degree - 1, degree) <= position:
            low = middle
        else:
            high = middle
    return low


def _check_listing(head_size: int, degree: int, each: int) -> None:
    count = comb(head_size + degree - 1, degree)
    needed = count * each
    if needed > LISTING_LIMIT:
        raise TooLargeError(
            f"a list of {count:,} monomials of degree {degree} in {head_size} variables, {needed / 2**30:.3g} GiB",
            f"at most {LISTING_LIMIT / 2**30:.3g} GiB",
            "take a smaller head size or degree (--head-sizes, --orders); rank and unrank of"
            " verify.families.polynomial.basis need no list",
        )
