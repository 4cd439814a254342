"""No smaller feature map exists: ranks of kernels, argued for all d and p, and worked out over the rationals by flint.

A monomial stands here as its exponents, listed by the standard library; its value at the primes is its node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from math import comb, factorial, prod
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from sympy import prime

from verify.proofs.proof import Argument, Proof

CASES = ((1, 6), (2, 6), (3, 5), (4, 4), (5, 3), (6, 3), (8, 2), (16, 2))
LOGEXP_SIZES = (1, 2, 3, 8, 20)

# Points beyond the rank that is expected: if the rank were higher, it would show.
SPARE = 4

Monomial = tuple[int, ...]  # indices


def monomials(size: int, degree: int) -> list[Monomial]:
    """Return the monomials of a degree as their indices."""
    return list(combinations_with_replacement(range(size), degree))


def monomials_up_to(size: int, order: int) -> list[Monomial]:
    """Return the monomials of all degrees up to an order."""
    return [monomial for degree in range(order + 1) for monomial in monomials(size, degree)]


def node(monomial: Monomial) -> int:
    """Return the value of a monomial at the first primes, which no other monomial has."""
    return prod(int(prime(i + 1)) for i in monomial)


def weight(monomial: Monomial, scale: Fraction = Fraction(1)) -> Fraction:
    """Return scale^p C_p / p! = scale^p / (product of the factorials of the exponents)."""
    exponents = (monomial.count(i) for i in set(monomial))
    return scale ** len(monomial) / prod(map(factorial, exponents))


def vandermonde(nodes: Sequence[int]) -> list[list[int]]:
    """Return the matrix of the powers s = 0, 1, ... (rows) of as many nodes (columns)."""
    return [[value**s for value in nodes] for s in range(len(nodes))]


def matrix(rows: Sequence[Sequence[Any]]) -> fmpq_mat:
    """Return a matrix of integers or fractions, exactly."""
    return fmpq_mat(len(rows), len(rows[0]), [fmpq(*x.as_integer_ratio()) for row in rows for x in row])


def rank_of(rows: Sequence[Sequence[Any]]) -> int:
    """Return the exact rank of a matrix of integers or fractions."""
    return int(matrix(rows).rank())


def gram_rank(rows: Sequence[Sequence[int]], weights: Sequence[Fraction]) -> int:
    """Return the exact rank of V diag(weights) V^T."""
    weighted = [[w * x for w, x in zip(weights, row, strict=True)] for row in rows]
    return int((matrix(weighted) * matrix(rows).transpose()).rank())


def random_points(count: int, size: int) -> list[list[int]]:
    """Return points of integers, the same at every call."""
    points: list[list[int]] = np.random.default_rng(7).integers(-99, 100, (count, size)).tolist()
    return points


def kernel_rank(size: int, kernel: Callable[[int], Any], expected: int) -> int:
    """Return the rank of kernel(q.k) at some more random points than the rank that is expected."""
    points = random_points(2 * (expected + SPARE), size)
    half = len(points) // 2
    return rank_of([[kernel(sum(map(int.__mul__, q, k))) for k in points[half:]] for q in points[:half]])


def power(degree: int) -> Callable[[int], int]:
    """Return s -> s^p."""
    return lambda s: s**degree


def truncated_exponential(order: int, scale: Fraction) -> Callable[[int], Fraction]:
    """Return s -> sum over p <= order of (scale s)^p / p!, exactly."""
    return lambda s: sum(((scale * s) ** p / factorial(p) for p in range(order + 1)), Fraction(0))


def random_ranks() -> Iterator[str]:
    """Yield where a kernel at random points has another rank than is proved at the prime ones."""
    for size, degree in CASES:
        wanted = {
            f"(q.k)^{degree}": (power(degree), comb(size + degree - 1, degree)),
            f"the exponential cut after {degree}": (
                truncated_exponential(degree, Fraction(1, 3)),
                comb(size + degree, degree),
            ),
        }
        for name, (kernel, expected) in wanted.items():
            found = kernel_rank(size, kernel, expected)
            if found != expected:
                yield f"at d = {size}: {name} has rank {found} at random points, not {expected}"


def _each(
    cases: Sequence[Any], expected: Callable[..., int], found: Callable[..., int], what: str
) -> Callable[[], Iterator[str]]:
    def differences() -> Iterator[str]:
        for case in cases:
            sizes = case if isinstance(case, tuple) else (case,)
            if found(*sizes) != expected(*sizes):
                yield f"at {sizes}: {what} {found(*sizes)}, not {expected(*sizes)}"

    return differences


def _count(size: int, degree: int) -> int:
    return comb(size + degree - 1, degree)


def _count_up_to(size: int, order: int) -> int:
    return comb(size + order, order)


def _nodes(size: int, order: int) -> int:
    return len({node(monomial) for monomial in monomials_up_to(size, order)})


def _vandermonde(size: int, degree: int) -> int:
    return rank_of(vandermonde([node(monomial) for monomial in monomials(size, degree)]))


def _gram(size: int, degree: int) -> int:
    basis = monomials(size, degree)
    return gram_rank(vandermonde([node(m) for m in basis]), [weight(m) for m in basis])


def _gram_up_to(size: int, order: int) -> int:
    basis = monomials_up_to(size, order)
    return gram_rank(vandermonde([node(m) for m in basis]), [weight(m, Fraction(1, 3)) for m in basis])


def _logexp(size: int) -> int:
    return gram_rank(vandermonde([int(prime(i + 1)) for i in range(size)]), [Fraction(1)] * size)


def _through(size: int, degree: int) -> int:
    """Return the rank of a product of random matrices through as many dimensions as there are monomials."""
    inner = _count(size, degree)
    return gram_rank(random_points(inner + SPARE, inner), [Fraction(1)] * inner)


_LISTED = ", ".join(map(str, CASES))

_FACTORS = Argument(
    "if <f(q), g(k)> of r numbers each is the kernel K for all q and k, every matrix K(q_s, k_t) is a product of r"
    " columns and r rows, and its rank at most r: a matrix of rank m needs r >= m",
    f"with random matrices at (d, p) in {_LISTED}",
    _each(CASES, _count, _through, "the product through as many dimensions has rank"),
)
_INDEPENDENCE = Argument(
    "at the points x(s) = (2^s, 3^s, 5^s, ...), s = 0, 1, ..., a monomial takes the values n^s, n = 2^e1 3^e2 5^e3 ...,"
    " and different monomials have different n: factors into primes are unique",
    f"for all monomials of degrees up to p at (d, p) in {_LISTED}",
    _each(CASES, _count_up_to, _nodes, "different n:"),
)
_VANDERMONDE = Argument(
    "the matrix V of the n^s, a row for each s = 0 .. m - 1 and a column for each of m different n, is regular: a"
    " combination of its rows that vanishes is a polynomial of degree below m with m zeros (Vandermonde)",
    f"by the exact rank of V at (d, p) in {_LISTED}",
    _each(CASES, _count, _vandermonde, "V has rank"),
)

MINIMALITY = (
    Proof(
        "minimality of one degree",
        "SA (7)",
        "the kernel (q.k)^p on R^d has rank exactly m_p = C(d + p - 1, p): no f and g of fewer numbers have"
        " <f(q), g(k)> = (q.k)^p for all q and k",
        (
            _FACTORS,
            _INDEPENDENCE,
            _VANDERMONDE,
            Argument(
                "(q.k)^p = sum of C_p Phi_p(q) Phi_p(k) (inner product, above), so that its matrix at these points is"
                " V diag(C_p) V^T; all C_p > 0, and its rank is m_p",
                f"by its exact rank at (d, p) in {_LISTED}",
                _each(CASES, _count, _gram, "the matrix has rank"),
            ),
        ),
    ),
    Proof(
        "minimality of all degrees",
        "SA (9), (13)",
        "the kernel sum over p = 0 .. N of (q.k)^p / (p! c^p), c > 0, has rank exactly C(d + N, N): degrees cannot"
        " share features either. (This is about the kernel; a read-out that is not an inner product is not excluded.)",
        (
            _FACTORS,
            _INDEPENDENCE,
            Argument(
                "as above, with the monomials of all degrees up to N, whose n are different too, and the weights"
                " C_p / (p! c^p) > 0",
                f"by its exact rank with c = 3 at (d, N) in {_LISTED}",
                _each(CASES, _count_up_to, _gram_up_to, "the matrix has rank"),
            ),
        ),
        "d, N",
    ),
    Proof(
        "rank of the log-exp kernel",
        "LE",
        "sum over i of exp(q_i) exp(k_i) has rank exactly d: its feature function exp is d-dimensional, not infinite",
        (
            Argument(
                "d features exp(x_i), so the rank is at most d; at x_i(s) = s log(i-th prime), s = 0 .. d - 1, they are"
                " the regular matrix of the powers of d primes, and its product with its transpose has rank d",
                f"by its exact rank at d in {', '.join(map(str, LOGEXP_SIZES))}",
                _each(LOGEXP_SIZES, lambda size: size, _logexp, "the kernel has rank"),
            ),
        ),
        "d",
    ),
)
