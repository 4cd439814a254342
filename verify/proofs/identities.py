"""How many monomials there are, what their coefficients add up to, and the published totals: for all d and p.

A monomial stands here as the tuple of its exponents; the cases of an argument are listed by trying all tuples.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from math import factorial, prod

import sympy
from sympy import binomial, rf

from verify.proofs.proof import Argument, Equality, Limit, N, Positive, Proof, d, d_v, e, p, sum_by_induction, u

LISTED = 4
ONE = sympy.Integer(1)
WHERE = f"by listing for d <= {LISTED}, p <= {LISTED}"

MONOMIALS = binomial(d + p - 1, p)
FEATURES = binomial(d + N, N)

# SA (15) with its P = N + 1
_P = N + 1
FLOPS = (4 * d_v + 2 * (_P * d + 1) / (d + 1) + 2) * binomial(d + _P - 1, _P - 1)


@cache
def listed(size: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Return the exponents of all monomials of a degree, found by trying every tuple."""
    tuples = itertools.product(range(degree + 1), repeat=size)
    return tuple(exponents for exponents in tuples if sum(exponents) == degree)


def _cases(agrees: Callable[[int, int], tuple[object, object]]) -> Callable[[], Iterator[str]]:
    def differences() -> Iterator[str]:
        for size, degree in itertools.product(range(1, LISTED + 1), range(LISTED + 1)):
            left, right = agrees(size, degree)
            if left != right:
                yield f"at d = {size}, p = {degree}: {left} listed, {right} by the argument"

    return differences


def _by_recurrence(size: int, degree: int) -> tuple[int, int]:
    if size == 1 or degree == 0:
        return len(listed(size, degree)), 1
    return len(listed(size, degree)), len(listed(size - 1, degree)) + len(listed(size, degree - 1))


def _by_series(size: int, degree: int) -> tuple[int, int]:
    series = [1] + [0] * degree
    for _ in range(size):  # times 1 + t + t^2 + ...
        series = list(itertools.accumulate(series))
    return len(listed(size, degree)), series[degree]


def _by_expanding(size: int, degree: int) -> tuple[object, object]:
    """Count the words of p factors x_i by what they multiply to, against p! / (product of the factorials)."""
    words: dict[tuple[int, ...], int] = dict.fromkeys(listed(size, degree), 0)
    for word in itertools.product(range(size), repeat=degree):
        words[tuple(word.count(i) for i in range(size))] += 1
    return words, {m: factorial(degree) // prod(map(factorial, m)) for m in words}


def _by_ones(size: int, degree: int) -> tuple[int, int]:
    return sum(factorial(degree) // prod(map(factorial, m)) for m in listed(size, degree)), size**degree


def _numbers(size: int) -> tuple[list[int], list[int]]:
    return [7 - 3 * i for i in range(size)], [2 + 5 * i for i in range(size)]


def _products(value: Callable[[int, int], int]) -> Callable[[], Iterator[str]]:
    def agrees(size: int, degree: int) -> tuple[int, int]:
        q, k = _numbers(size)
        return value(size, degree), sum(map(int.__mul__, q, k)) ** degree

    return _cases(agrees)


def _by_words(size: int, degree: int) -> int:
    q, k = _numbers(size)
    return sum(
        prod(q[i] for i in word) * prod(k[i] for i in word) for word in itertools.product(range(size), repeat=degree)
    )


def _by_monomials(size: int, degree: int) -> int:
    q, k = _numbers(size)
    total = 0
    for exponents in listed(size, degree):
        weight = factorial(degree) // prod(map(factorial, exponents))
        total += (
            weight
            * prod(x**n for x, n in zip(q, exponents, strict=True))
            * prod(x**n for x, n in zip(k, exponents, strict=True))
        )
    return total


_RATIO = (d + p) / (d * (p + 1))

IDENTITIES = (
    Proof(
        "number of monomials",
        "SA (7)",
        "m_p = C(d + p - 1, p) monomials of degree p in d variables, by recurrence",
        (
            Argument(
                "m(d + 1, p + 1) = m(d, p + 1) + m(d + 1, p), m(1, p) = m(d, 0) = 1: a monomial lacks the last"
                " variable, or it is that variable times one of degree p; this determines m for all d and p",
                WHERE,
                _cases(_by_recurrence),
            ),
            Equality("for one variable", MONOMIALS, ONE, ((d, 1),)),
            Equality("for degree 0", MONOMIALS, ONE, ((p, 0),)),
            Equality(
                "and the recurrence",
                MONOMIALS.subs({d: d + 1, p: p + 1}, simultaneous=True),
                MONOMIALS.subs(p, p + 1) + MONOMIALS.subs(d, d + 1),
            ),
        ),
    ),
    Proof(
        "number of monomials, again",
        "SA (7)",
        "m_p = C(d + p - 1, p) monomials of degree p in d variables, by the generating function 1 / (1 - t)^d",
        (
            Argument(
                "sum over p of m_p t^p = (1 + t + t^2 + ...)^d = (1 - t)^(-d): choose a power of each variable; write u"
                " for 1 - t, so that d/dt is - d/du",
                WHERE,
                _cases(_by_series),
            ),
            Equality(
                "its derivative of order p is rising(d, p) u^(-d - p): for p = 0",
                rf(d, p) * u ** (-d - p),
                u**-d,
                ((p, 0),),
            ),
            Equality(
                "and from p to p + 1, differentiating once more",
                -sympy.diff(rf(d, p) * u ** (-d - p), u),
                rf(d, p + 1) * u ** (-d - p - 1),
            ),
            Equality("divided by p!, at u = 1, it is the coefficient of t^p", rf(d, p) / sympy.factorial(p), MONOMIALS),
        ),
    ),
    Proof(
        "multiplicities",
        "SA (8)",
        "C_p = p! / (product of the factorials of the exponents) in (x_1 + ... + x_d)^p, the multinomial theorem, and"
        " the sum of all C_p is d^p",
        (
            Equality("in (X + y)^p, y^e stands C(p, e) times: for p = 0", binomial(p, e), ONE, ((p, 0), (e, 0))),
            Equality("y^0 in X (X + y)^p", binomial(p, e), binomial(p + 1, e), ((e, 0),)),
            Equality(
                "y^(p + 1) in y (X + y)^p, with p - e = 0", binomial(p + e, p), binomial(p + e + 1, p + 1), ((e, 0),)
            ),
            Equality(
                "y^(e + 1) for e < n = p + e + 1 in X (X + y)^n + y (X + y)^n, with Pascal's rule",
                binomial(p + e + 1, e + 1) + binomial(p + e + 1, e),
                binomial(p + e + 2, e + 1),
            ),
            Equality(
                "X = x_1 + ... + x_d, y one more variable: if the coefficients of X^p are p! / (product), those of"
                " X^p y^e in (X + y)^(p + e) are C(p + e, e) times that, and so (p + e)! / (e! product)",
                binomial(p + e, e) * sympy.factorial(p),
                sympy.factorial(p + e) / sympy.factorial(e),
            ),
            Argument(
                "hence C_p = p! / (product), by induction on d from x_1^p, whose coefficient is 1 = p! / p!",
                WHERE,
                _cases(_by_expanding),
            ),
            Argument("with every variable 1, the sum of C_p is (1 + ... + 1)^p = d^p", WHERE, _cases(_by_ones)),
        ),
    ),
    Proof(
        "features of all degrees",
        "SA (7), (13)",
        "sum over p = 0 .. N of m_p = C(d + N, N), which is C(d + P - 1, P - 1) with P = N + 1 terms",
        sum_by_induction(MONOMIALS, FEATURES),
        "d, N",
    ),
    Proof(
        "state of all degrees",
        "SA (13)",
        "sum over p = 0 .. N of (d_v + 1) m_p = (d_v + 1) C(d + N, N)",
        sum_by_induction((d_v + 1) * MONOMIALS, (d_v + 1) * FEATURES),
        "d, d_v, N",
    ),
    Proof(
        "FLOPs of all degrees",
        "SA (14), (15)",
        "sum over p = 0 .. N of (4 d_v + 2 p + 4) m_p = [4 d_v + 2 (P d + 1) / (d + 1) + 2] C(d + P - 1, P - 1),"
        " P = N + 1",
        (
            *sum_by_induction((4 * d_v + 2 * p + 4) * MONOMIALS, FLOPS),
            Equality(
                "as the cost functions have it, without the fraction, from N + 1 on",
                FLOPS.subs(N, N + 1),
                (4 * d_v + 4) * FEATURES.subs(N, N + 1) + 2 * d * binomial(d + N + 1, N),
            ),
            Equality("and at N = 0, where the sum of p m_p is 0", FLOPS, (4 * d_v + 4) * FEATURES, ((N, 0),)),
        ),
        "d, d_v, N",
    ),
    Proof(
        "inner product",
        "SA (5), (6), (8)",
        "(q.k)^p is the sum of all elements of (q^(x)p) * (k^(x)p), and <Phi_p(q), Phi_p(k)> weighted by C_p",
        (
            Argument(
                "(sum of q_i k_i)^p multiplied out is the sum over all words i1 .. ip of (q_i1 .. q_ip) (k_i1 .. k_ip)",
                f"{WHERE}, in integers",
                _products(_by_words),
            ),
            Argument(
                "words of the same exponents have the same product: the multinomial theorem at x_i = q_i k_i, whose"
                " monomials are Phi_p(q) Phi_p(k)",
                f"{WHERE}, in integers",
                _products(_by_monomials),
            ),
        ),
    ),
    Proof(
        "packed against dense",
        "SA (4)-(7)",
        "for every p, m_p / d^p = (1/p!) (1 + 1/d) (1 + 2/d) ... (1 + (p-1)/d): never below 1/p!, to which it tends as"
        " d grows",
        (
            Equality("for degree 0", MONOMIALS / d**p, ONE, ((p, 0),)),
            Equality(
                "from degree p to p + 1 it is multiplied by (1 + p/d) / (p + 1)",
                MONOMIALS.subs(p, p + 1) * d**p / (MONOMIALS * d ** (p + 1)),
                _RATIO,
            ),
            Positive(
                "this factor is not below 1 / (p + 1), and the product of p of them not below 1/p!",
                sympy.expand((p + 1) * (d + p) - (p + 1) * d),
                ((p, 0),),
                zero=True,
            ),
            Limit("each factor tends to it, and the product of p of them to 1/p!", _RATIO, d, 1 / (p + 1)),
        ),
    ),
)
