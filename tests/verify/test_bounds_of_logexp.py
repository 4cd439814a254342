"""Bounds on weights of log-exp attention: terms as derived, each on inputs that make it the largest of all.

Roundings of logarithms add up: the bound's exponent is their sum.  Terms are written out here as the docstrings of
`verify.mechanisms.logexp.bounds` derive them; inputs are such that each counts for more than all others in some case.
"""

from __future__ import annotations

from math import e, exp, expm1, log, log1p
from typing import Any

import numpy as np
import pytest

from tests.verify.test_bounds_of_weights import bound_of
from verify.mechanisms.logexp.bounds import _STEEPEST
from verify.numbers.arithmetic import ARITHMETICS, LIBRARY, Arithmetic
from verify.problem import Problem

F32, MIXED, B16, F16 = (ARITHMETICS[name] for name in ("float32", "bfloat16+float32", "bfloat16", "float16"))


def units(arithmetic: Arithmetic) -> tuple[float, float, float, float]:
    """Return the unit roundoffs of sums and factors, and what exp or log do when rounded to either."""
    s, f = (2.0**-format_.precision for format_ in (arithmetic.sums, arithmetic.factors))
    lib_s, lib_f = (LIBRARY * 2.0**-24 + (u if u > 2.0**-24 else 0.0) for u in (s, f))
    return s, f, lib_s, lib_f


def tiny(arithmetic: Arithmetic) -> float:
    return arithmetic.sums.smallest + arithmetic.factors.smallest


def problem_of(q: Any, k: Any, v: Any = None, **rest: Any) -> Problem:
    k = np.array(k, float)
    return Problem(np.array(q, float), k, np.ones((len(k), 1)) if v is None else v, **rest)


def exponent_of(found: Any, arithmetic: Arithmetic, shared: float = 0.0) -> Any:
    """Return log(1 + dw / w), without what underflow takes, which shared roundings make larger."""
    return np.log1p((found.moved - 2 * tiny(arithmetic) * exp(shared)) / found.weights)


def test_rounding_an_exponent_by_a_part_of_itself_moves_the_exponential_at_most_so_far() -> None:
    assert 1 / e <= _STEEPEST <= 1.0001 / e


def same(found: Any, terms: dict[str, float], which: str, share: float, tolerance: float) -> None:
    """Check that the sum of terms was found, and that one of them is this share of it."""
    assert found == pytest.approx(sum(terms.values()), rel=tolerance)
    assert terms[which] >= share * sum(terms.values()), terms


# of the second key; distances are at most twice the largest logit, which is rounded twice; logarithms are of sums of
# exponentials, which have errors of their own
QUADRATIC = {
    "logits": (F32, [[60.0]], [[0.0], [-10.0]], 0.8),
    "sums": (B16, [[0.0] * 64], [[0.0] * 64] * 2, 0.9),
    "distances": (F32, [[0.0]], [[40.0], [-40.0]], 0.45),
    "logarithms": (F32, [[0.0] * 4], [[0.0] * 4] * 2, 0.3),
    "exponentials": (F32, [[0.0]], [[0.0], [-0.001]], 0.9),
    "factors": (MIXED, [[0.0]], [[0.0], [-1.0]], 0.9),
}


@pytest.mark.parametrize("which", QUADRATIC)
def test_terms_of_pairs(which: str) -> None:
    arithmetic, q, k, share = QUADRATIC[which]
    s, f, lib, _ = units(arithmetic)
    problem = problem_of(q, k)
    found = bound_of("logexp/quadratic", problem, arithmetic)
    d, size = len(q[0]), np.abs(problem.q).max() + np.abs(problem.k).max()
    # of the second key: l = log sum_i exp(a_i), all components being equal
    logit = float(problem.q[0, 0] + problem.k[1, 0]) + log(d)
    # exponentials: each distance is off by s, which is 0.37 s of the largest; of the library and of the format.  d - 1
    # additions.  Together a part r of the sum: its logarithm by -log(1 - r)
    r = (1 + _STEEPEST * (d - 1) * s / (1 - s)) * (1 + (d - 1) * s / (1 - (d - 1) * s)) - 1
    r = (1 + r) * (1 + (lib if d > 1 else 0)) - 1
    of_sum = -log1p(-r)
    logarithms = (log(d) + of_sum) * lib
    sums = s * size
    rounded = s * (abs(logit) + sums + of_sum + logarithms)
    top = float(problem.q[0, 0] + problem.k[0, 0]) + log(d)
    off = [sums + of_sum + logarithms + s * (abs(x) + sums + of_sum + logarithms) for x in (top, logit)]
    terms = {
        "logits": sums + rounded,
        "sums": of_sum,
        "logarithms": logarithms,
        "distances": s * (top - logit + max(off) + off[1]),
        "exponentials": lib,
        "factors": f if arithmetic is MIXED else 0.0,
    }
    # second orders: of float32 below 2^-16; bfloat16 has 2^-8 for each rounding, and 63 of them here
    same(exponent_of(found, arithmetic, max(off))[0, 1], terms, which, share, 1e-5 if arithmetic is F32 else 2e-3)


@pytest.mark.parametrize("order", [1, -1])
def test_logits_that_round_apart_reach_the_bound_of_pairs(order: int) -> None:
    # d = 1, keys at +-a: a is rounded as a sum and as a logarithm with a shift, the distance 2 a once, all apart
    s, _, lib, _ = units(F32)
    a = 40.0
    found = bound_of("logexp/quadratic", problem_of([[0.0]], [[order * a], [-order * a]]), F32)
    logit = a * (1 + s) ** 2
    worst = (logit - a) + s * (2 * a + 2 * (logit - a)) + lib
    off = exponent_of(found, F32, logit - a)[0, (1 + order) // 2]
    assert 0.9999 * off <= worst <= off * (1 + 1e-9)


# L = largest |q + k|
STREAM = {
    "sums": (B16, {}, [[400.0]], [[0.0], [-20.0]], 0.6),
    "way": (F32, {}, [[0.0]], [[40.0], [-40.0]], 0.5),
    "exponentials": (MIXED, {}, [[0.0]], [[0.5], [-0.5]], 0.9),
    "chunks": (B16, {"chunk": 1}, [[0.0]], [[0.01 * i] for i in range(20)], 0.8),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("which", STREAM)
def test_terms_of_the_stream(which: str, causal: bool) -> None:
    arithmetic, options, q, k, share = STREAM[which]
    s, f, lib, lib_f = units(arithmetic)
    n, chunk = len(k), options.get("chunk", 128)
    problem = problem_of(q * n if causal else q, k, causal=causal)
    name = "logexp/stream" + "".join(f":{key}={value}" for key, value in options.items())
    found = bound_of(name, problem, arithmetic)
    size = np.abs(problem.q).max() + np.abs(problem.k).max()
    later = -(-n // chunk) - 1
    # the limit of underflow: exp(-lowest) is the smallest factor; in a causal chunk the way goes up and down as well
    way = min(2 * size, 2 * -log(arithmetic.factors.smallest)) * (3 if causal else 1)
    terms = {
        "sums": s * size * (1 + 4 * s),
        "way": s * way,
        "exponentials": 2 * lib_f + (f if causal and arithmetic is MIXED else 0.0),
        "chunks": later * lib,
    }
    expected = expm1(sum(terms.values()))
    under = 2 * tiny(arithmetic) * (exp(s * size) + 1) + causal * 2.0**-8 * f
    dw = expected * found.weights + under
    np.testing.assert_allclose(found.moved, dw, rtol=1e-6)
    # q + k is rounded once, and its way down to a weight is twice as long, unless weights underflow before
    assert terms[which] >= (share if not causal else 0.2) * sum(terms.values()), terms
    # sums: the first token of all, in a chunk or one by one, then multiplied for each later chunk; read with d = 1
    products = n - (arithmetic is MIXED)
    of_sums = (1 + s) ** (products + later + 1 + causal) - 1
    # gamma_m is above (1 + s)^m - 1 by m s / 2 of it
    assert of_sums <= found.spread <= of_sums * (1 + (0.15 if arithmetic is B16 else 1e-5))


def test_a_chunks_own_weights_lose_what_underflows_beside_the_largest_in_every_component() -> None:
    # exp(q + m - a) exp(k - m) may each lose the smallest number, times at most exp(g) <= 2^(14 - 8): d 2^-8 u
    d, s = 4, 2.0**-11
    rows = problem_of([[0.0] * d] * 2, [[0.0] * d, [-40.0] * d], causal=True)
    found = bound_of("logexp/stream", rows, F16)
    beyond = found.moved[1, 1]  # a weight of exp(-40): nothing but what underflows is left
    expected = d * 2.0**-8 * s + 2 * tiny(F16) * (exp(s * 40) + d)
    assert beyond == pytest.approx(expected, rel=1e-6)


# V = largest |log v|
LINEAR = {
    "values": (F32, [[0.0]], [[0.0]], [[2.0**60]], 0.7),
    "steps of sums": (F32, [[0.0]], [[60.0]] * 50, [[1.0]] * 50, 0.5),
    "steps of exponentials": (F32, [[0.0]], [[0.0]] * 50, [[1.0]] * 50, 0.5),
    "reading": (B16, [[20.0]], [[0.0]], [[1.0]], 0.9),
}


@pytest.mark.parametrize("which", LINEAR)
def test_terms_of_logarithms_of_sums(which: str) -> None:
    arithmetic, q, k, v, share = LINEAR[which]
    s, _, lib, _ = units(arithmetic)
    n, logs = len(k), abs(log(v[0][0]))
    found = bound_of("logexp/linear", problem_of(q, k, np.array(v)), arithmetic)
    of_q, of_k = abs(q[0][0]), abs(k[0][0])
    highest = logs + of_k + log(n)
    way = min(2 * (of_q + of_k) + logs + log(n), 2 * -log(arithmetic.factors.smallest))
    terms = {
        # log v, and k + log v, of a value that is off already
        "values": lib * logs + s * (of_k + logs * (1 + lib)),
        # a step: H, of a size up to that, and V |log V| <= M (|log M| + 0.37); the distance of its two logarithms
        "steps of sums": (n - 1) * s * (highest + 2 * _STEEPEST),
        # an exponential, the sum, and a logarithm of at most 2: 2 log 2 = 1.39
        "steps of exponentials": (n - 1) * (lib * (1 + 1.39) + s),
        # q + H, its distance to the largest, an exponential
        "reading": s * (of_q + of_k + logs + log(n) + way + 2 * _STEEPEST) + lib,
    }
    # numbers that were rounded before are rounded: not more than eight roundings of one
    same(log1p(found.spread) / (1 + 8 * s), terms, which, share, 1e-5)
    assert (found.moved <= 2 * tiny(arithmetic) * np.exp(1.01 * sum(terms.values()))).all()


def test_components_are_added_up_when_logarithms_are_read() -> None:
    many = bound_of("logexp/linear", problem_of([[0.0] * 20], [[0.0] * 20]), F32)
    one = bound_of("logexp/linear", problem_of([[0.0]], [[0.0]]), F32)
    assert many.spread - one.spread == pytest.approx(19 * 2.0**-24, rel=1e-5)


def test_sums_of_logarithms_that_round_up_each_time_reach_the_bound() -> None:
    # n equal keys far from 0: each step rounds H once more, all upwards
    s, n, k = 2.0**-24, 200, 80.0
    found = bound_of("logexp/linear", problem_of([[0.0]], [[k]] * n), F32)
    worst = expm1(sum(s * (k + log(t)) for t in range(2, n + 1)))
    # the rest: exponentials and logarithms of the library, with 19 s a step, and what reads and enters
    assert 0.7 <= worst / found.spread <= 1
