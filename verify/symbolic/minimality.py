"""No smaller feature map exists: ranks of kernels, proved for all d and p, and worked out over the rationals by flint.

A feature map of r numbers, <f(q), g(k)> = K(q, k), makes every matrix K(q_s, k_t) a product through r dimensions, so
that its rank is at most r.  A matrix of rank m therefore proves that m features are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import comb, factorial, prod

import numpy as np
from flint import fmpq, fmpq_mat
from sympy import prime

from verify.basis import monomial_indices, multiplicities
from verify.symbolic.proof import Argument, Proof

CASES = ((1, 6), (2, 6), (3, 5), (4, 4), (5, 3), (6, 3), (8, 2), (16, 2))
WHERE = f"by exact ranks over the rationals for (d, p) in {', '.join(map(str, CASES))}"

# Points beyond the rank that is expected: if the rank were higher, it would show.
SPARE = 4

LOGEXP_SIZES = (1, 2, 3, 8, 64)

Point = Sequence[int]


def _points(count: int, size: int) -> list[list[int]]:
    points: list[list[int]] = np.random.default_rng(7).integers(-99, 100, (count, size)).tolist()
    return points


def _monomial(point: Point, indices: Sequence[int]) -> int:
    return prod(point[i] for i in indices)


def rank_of(rows: Sequence[Sequence[int | fmpq]]) -> int:
    """Return the exact rank of a matrix of integers or rationals."""
    return int(fmpq_mat(len(rows), len(rows[0]), [fmpq(x) for row in rows for x in row]).rank())


def evaluation_rank(size: int, degree: int) -> int:
    """Return the rank of the monomials of a degree, evaluated at more points than there are monomials."""
    monomials = monomial_indices(size, degree)
    return rank_of([[_monomial(x, m) for m in monomials] for x in _points(len(monomials) + SPARE, size)])


def kernel_rank(size: int, kernel: Callable[[int], int | fmpq], expected: int) -> int:
    """Return the rank of kernel(q.k) at some more points than the rank that is expected."""
    points = _points(2 * (expected + SPARE), size)
    half = len(points) // 2
    return rank_of([[kernel(sum(map(int.__mul__, q, k))) for k in points[half:]] for q in points[:half]])


def power(degree: int) -> Callable[[int], int]:
    """Return s -> s^p."""
    return lambda s: s**degree


def truncated_exponential(order: int) -> Callable[[int], fmpq]:
    """Return s -> sum over p <= order of s^p / p!, exactly."""
    return lambda s: sum((fmpq(s**degree, factorial(degree)) for degree in range(order + 1)), fmpq(0))


def logexp_rank(size: int) -> int:
    """Return the rank of sum over i of exp(q_i) exp(k_i) where all exp(q_i) and exp(k_i) are positive integers."""
    points = [[abs(x) + 1 for x in point] for point in _points(2 * (size + SPARE), size)]
    half = len(points) // 2
    return rank_of([[sum(map(int.__mul__, q, k)) for k in points[half:]] for q in points[:half]])


def _evaluations() -> Iterator[str]:
    for size, degree in CASES:
        found, expected = evaluation_rank(size, degree), comb(size + degree - 1, degree)
        if found != expected:
            yield f"at d = {size}, p = {degree}: the evaluation matrix has rank {found}, not {expected}"


def _distinct() -> Iterator[str]:
    for size, order in CASES:
        primes = [int(prime(i + 1)) for i in range(size)]
        nodes = [_monomial(primes, m) for degree in range(order + 1) for m in monomial_indices(size, degree)]
        if len(set(nodes)) != len(nodes) or len(nodes) != comb(size + order, order):
            yield f"at d = {size}, order {order}: {len(set(nodes))} different products of {len(nodes)} monomials"


def _positive_weights() -> Iterator[str]:
    for size, degree in CASES:
        weights = multiplicities(size, degree)
        for position, weight in enumerate(weights):
            if not weight > 0:
                yield f"at d = {size}, p = {degree}: multiplicity {weight} of monomial {position}"


def _kernels() -> Iterator[str]:
    for size, degree in CASES:
        expected = comb(size + degree - 1, degree)
        found = kernel_rank(size, power(degree), expected)
        if found != expected:
            yield f"at d = {size}, p = {degree}: (q.k)^p has rank {found}, not {expected}"


def _sums() -> Iterator[str]:
    for size, order in CASES:
        expected = comb(size + order, order)
        found = kernel_rank(size, truncated_exponential(order), expected)
        if found != expected:
            yield f"at d = {size}, order {order}: the truncated exponential has rank {found}, not {expected}"


def _logexp() -> Iterator[str]:
    for size in LOGEXP_SIZES:
        found = logexp_rank(size)
        if found != size:
            yield f"at d = {size}: the log-exp kernel has rank {found}, not {size}"


_INDEPENDENCE = Argument(
    "at the points x(s) = (2^s, 3^s, 5^s, ...), s = 0, 1, ..., a monomial takes the values n^s, n = 2^e1 3^e2 5^e3 ...,"
    " and different monomials have different n: factors into primes are unique",
    f"for all monomials up to p at (d, p) in {', '.join(map(str, CASES))}",
    _distinct,
)
_VANDERMONDE = Argument(
    "the matrix n^s of m different n and s = 0 .. m - 1 is regular (Vandermonde): a combination of its columns that"
    " vanishes is a polynomial of degree below m with m zeros; so the monomials are linearly independent",
    WHERE,
    _evaluations,
)

MINIMALITY = (
    Proof(
        "minimality of one degree",
        "SA (7)",
        "(q.k)^p has rank exactly m_p = C(d + p - 1, p): no feature map of fewer numbers gives it",
        (
            _INDEPENDENCE,
            _VANDERMONDE,
            Argument(
                "(q.k)^p = sum of C_p Phi_p(q) Phi_p(k) has rank at most m_p, and all C_p > 0",
                f"for (d, p) in {', '.join(map(str, CASES))}",
                _positive_weights,
            ),
            Argument(
                "at these points for q and k its matrix is V diag(C_p) V^T with V regular, so its rank is m_p",
                WHERE,
                _kernels,
            ),
        ),
    ),
    Proof(
        "minimality of all degrees",
        "SA (9), (13)",
        "the exponential cut after order N has rank exactly C(d + N, N): degrees cannot share features either",
        (
            _INDEPENDENCE,
            Argument(
                "as above with the monomials of all degrees up to N and the weights C_p / (p! c^p), which are positive",
                WHERE.replace("(d, p)", "(d, N)"),
                _sums,
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
                " the regular matrix prime^s, and its product with its transpose has rank d",
                f"by exact ranks over the rationals for d in {', '.join(map(str, LOGEXP_SIZES))}",
                _logexp,
            ),
        ),
        "d",
    ),
)
