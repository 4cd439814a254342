"""Bounds on weights, form by form: every rounding that a form makes, each upwards, written out as rationals.

With positive q, k and scale all roundings of a polynomial's weight can point up at once, and what comes out is the most
that a weight can be off by.  The bound may not be below it; above it, it may be by second orders: with u = 2^-24 and
fewer than 50 roundings, products of two of them are a part 50 u < 2^-18 of the first order.  Where a form rounds less
than its bound allows for, the share it reaches is given.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from verify.bounds import Pairs, WeightBound, accumulated, kept
from verify.bounds.kept import COMPENSATED
from verify.families.polynomial.forms import chunk_of
from verify.mechanisms.registry import named_variant
from verify.numbers.arithmetic import ARITHMETICS, LIBRARY, Arithmetic
from verify.numbers.formats import FORMATS
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem

F32, MIXED, F64, B16 = (ARITHMETICS[name] for name in ("float32", "bfloat16+float32", "float64", "bfloat16"))
U = Fraction(1, 2**24)
SECOND_ORDERS = 2.0**-18


def bound_of(name: str, problem: Problem, arithmetic: Arithmetic) -> WeightBound:
    (head,) = problem.each_head()
    chosen = named_variant(name)
    rounding = chosen.how.rounding
    assert rounding is not None
    pairs = Pairs(problem, head, np.arange(problem.queries), arithmetic, accumulated)
    return rounding(pairs, chosen.member, **dict(chosen.options))


def one_key(q: float, k: float, scale: float | None = None, **rest: Any) -> Problem:
    return Problem([[q]], [[k]], [[1.0]], scale, **rest)


def assert_share(bound: float, worst: Any, share: float = 1.0 - SECOND_ORDERS) -> None:
    """Check that the worst there is reaches a share of the bound, and not more than all of it."""
    reached = float(Fraction(worst) / Fraction(float(bound)))
    assert share <= reached <= 1.0, reached


def off_scale(scale: float) -> Fraction:
    """Return how far off float32's number for a scale is, relative to it."""
    return abs(Fraction(float(np.float32(scale))) - Fraction(scale)) / Fraction(scale)


def horner(s: Fraction, order: int, u: Fraction = U) -> Fraction:
    """Return 1 + s (1 + s/2 (1 + ...)) with every rounding upwards: all but 1 s, and divisions by powers of two."""
    total = Fraction(1)
    for p in range(order, 0, -1):
        total *= s * (1 if p == order else 1 + u)
        total *= Fraction(1, p) * (1 if p & (p - 1) == 0 else 1 + u)
        total = (total + 1) * (1 + u)
    return total


def taylor(s: Fraction, order: int) -> Fraction:
    return sum((s**p / factorial(p) for p in range(order + 1)), Fraction())


@pytest.mark.parametrize("order", range(10))
@pytest.mark.parametrize("q", [2.0**-12, 0.75, 5.0, 40.0])
def test_weights_of_scores(q: float, order: int) -> None:
    # one product, and one with the scale, which is itself off
    k, scale = 1.25, 0.3
    s = Fraction(q) * Fraction(k) * Fraction(scale)
    if order:  # a weight of 1 is not rounded
        worst = horner(s * (1 + U) ** 2 * (1 + off_scale(scale)), order) - taylor(s, order)
        assert_share(bound_of(f"taylor:order={order}/scores", one_key(q, k, scale), F32).moved[0, 0], worst)
    # products of bfloat16 are exact in float32; the weight is rounded to it
    worst = horner(s * (1 + U) * (1 + off_scale(scale)), order) * (1 + Fraction(1, 2**8)) - taylor(s, order)
    assert_share(bound_of(f"taylor:order={order}/scores", one_key(q, k, scale), MIXED).moved[0, 0], worst)


@pytest.mark.parametrize("order", [1, 3, 6])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_logits_take_a_rounding_for_each_product_and_sum_and_one_for_the_scale(d: int, order: int) -> None:
    scale = 0.7
    problem = Problem(np.full((1, d), 1.5), np.full((1, d), 1.25), [[1.0]], scale)
    s = d * Fraction(15, 8) * Fraction(scale)
    # the first product goes through d - 1 additions; with equal products, so does a part 1 - (d - 1) / (2 d) or more
    worst = horner(s * (1 + U) ** (d + 1) * (1 + off_scale(scale)), order) - taylor(s, order)
    assert_share(bound_of(f"taylor:order={order}/scores", problem, F32).moved[0, 0], worst)


@pytest.mark.parametrize(("scale", "roundings"), [(0.25, 0), (1.0, 0), (0.3, 1), (None, 1)])
def test_scales_that_are_powers_of_two_round_nothing(scale: float | None, roundings: int) -> None:
    d = 1 if scale is not None else 3
    problem = Problem(np.full((1, d), 1.5), np.full((1, d), 1.25), [[1.0]], scale)
    with mpmath_precision(200):
        value = 1 / mp.sqrt(3) if scale is None else mp.mpf(scale)
        held = np.float32(1) / np.sqrt(np.float32(3)) if scale is None else np.float32(scale)
        off = abs(mp.mpf(float(held)) / value - 1)
        # order 1: 1 + s, one rounding for all
        s = d * mp.mpf(15) / 8 * value
        worst = (1 + s * (1 + mp.mpf(2) ** -24) ** (d + roundings) * (1 + off)) * (1 + mp.mpf(2) ** -24) - 1 - s
        reached = float(worst / float(bound_of("taylor:order=1/scores", problem, F32).moved[0, 0]))
    assert 1 - SECOND_ORDERS <= reached <= 1


def powers(s: Fraction, order: int, scaled: Fraction, f: Fraction, *, side: str = "query") -> Fraction:
    """Return the weight through features of one component, every rounding upwards.

    q is off by `scaled`; x^p takes p - 1 products on either side, and x/3, x/4 ... are rounded.  On both sides, so are
    the roots of 2, 3 ..., and then the quotients.
    """
    total = Fraction()
    for p in range(order + 1):
        count = 2 * max(0, p - 1)
        count += {"query": max(0, p - 2), "key": max(0, p - 2), "both": 4 * max(0, p - 1)}[side]
        total += (s * (1 + scaled)) ** p * (1 + f) ** count / factorial(p)
    return total


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("q", [2.0**-12, 0.75, 5.0])
@pytest.mark.parametrize("side", ["query", "key", "both"])
def test_weights_through_features(side: str, q: float, order: int) -> None:
    k, scale = 1.25, 0.3
    s = Fraction(q) * Fraction(k) * Fraction(scale)
    if order == 0:  # nothing is rounded but sums: what is left is what evaluating the bound may have lost
        assert bound_of(f"taylor:order=0/stream:side={side}", one_key(q, k, scale), F32).moved[0, 0] < 2.0**-47
        return
    scaled = (1 + off_scale(scale)) * (1 + U) - 1
    worst = powers(s, order, scaled, U, side=side) - taylor(s, order)
    # beside small logits, 2^-44 for the evaluation of the bound counts, and an exact division by 4, which is not known
    share = {0.75: 0.999, 5.0: 0.92}.get(q, 0.995) if side != "both" else 0.995
    for form in ("stream", "packed"):
        found = bound_of(f"taylor:order={order}/{form}:side={side}", one_key(q, k, scale), F32)
        assert_share(found.moved[0, 0], worst, share)
    # a product with the scale is rounded to float32, and then to bfloat16: of so few bits, second orders are 2^-3
    f = Fraction(1, 2**8)
    scaled = (1 + off_scale(scale)) * (1 + U) * (1 + f) - 1
    worst = powers(s, order, scaled, f, side=side) - taylor(s, order)
    found = bound_of(f"taylor:order={order}/stream:side={side}", one_key(q, k, scale), MIXED).moved[0, 0]
    assert_share(found, worst, 0.87)


@pytest.mark.parametrize(("d", "order", "q"), [(5, 2, 2.0**-12), (3, 3, 2.0**-12), (1, 3, 5.0), (2, 2, 3.0)])
def test_dense_weights_are_sums_over_all_features(d: int, order: int, q: float) -> None:
    # small logits: 1, which comes first, is multiplied, and goes through as many additions as there are features
    problem = Problem(np.full((1, d), q), np.full((1, d), 1.25), [[1.0]], 1.0)
    features = sum(d**p for p in range(order + 1))
    s = d * Fraction(q) * Fraction(5, 4)
    worst = Fraction()
    for p in range(order + 1):
        # p - 1 products on either side; c_p as float32 has it, and the product with it; the sum of d^p products, which
        # the matrix product adds up, and those of higher degrees
        held = abs(Fraction(float(np.float32(1 / factorial(p)))) * factorial(p) - 1)
        count = 2 * max(0, p - 1) + (p > 0) + sum(d**i for i in range(p, order + 1))
        worst += s**p / factorial(p) * ((1 + held) * (1 + U) ** count - 1)
    found = bound_of(f"taylor:order={order}/dense", problem, F32)
    # an unneeded product with c_0 = 1 is counted, and for every degree the additions of all features
    share = features / (features + 1) * 0.999 if q < 1 else 0.69
    assert_share(found.moved[0, 0], worst, share)


def test_constants_are_held_by_factors_in_dense_weights() -> None:
    # 1/6 in bfloat16 is off by 2^-9.6 of itself: with logits of 16, it is the weight of order 3 that is off
    problem = one_key(8.0, 2.0, 1.0)
    held = abs(Fraction(float(B16.factors.rounded(np.array(1 / 6)).astype(float))) * 6 - 1)
    f = Fraction(1, 2**8)
    s = Fraction(16)
    worst = (1 + s * (1 + f) + s**2 / 2 * (1 + f) ** 3 + s**3 / 6 * (1 + held) * (1 + f) ** 5) * (1 + f)
    found = bound_of("taylor:order=3/dense", problem, MIXED)
    assert_share(found.moved[0, 0], worst - taylor(s, 3), 0.9)


def test_a_chunks_own_pairs_go_by_their_logits_and_all_others_through_the_state() -> None:
    # bfloat16: own weights are rounded to it, which those through the state are not; these have features of it instead
    q, k, order = 0.75, 1.25, 3
    problem = Problem(np.full((4, 1), q), np.full((4, 1), k), np.ones((4, 1)), 0.3, causal=True)
    s = Fraction(q) * Fraction(k) * Fraction(0.3)
    f = Fraction(1, 2**8)
    scaled = (1 + off_scale(0.3)) * (1 + U) * (1 + f) - 1
    own = horner(s * (1 + scaled), order) * (1 + f) - taylor(s, order)
    through = powers(s, order, scaled, f) - taylor(s, order)
    for chunk in (1, 2, 4):
        found = bound_of(f"taylor:order={order}/packed:chunk={chunk}", problem, MIXED)
        for row in range(4):
            for key in range(row + 1):
                # second orders: two roundings of 2^-8 of the logits, and what bounds s^p from s + |ds| on
                inside = row // chunk == key // chunk
                assert_share(found.moved[row, key], own if inside else through, 0.98)
        # sizes of what is added up: both are what weights may be at most
        np.testing.assert_allclose(found.size, np.abs(found.weights) + found.moved, rtol=1e-12)
    assert abs(own / through - 1) > 0.2  # or nobody could tell them apart


def test_queries_that_are_scaled_before_are_rounded_before() -> None:
    # own pairs of packed in float32: each product is rounded, and so is q times the scale, instead of the logit
    problem = Problem(np.full((1, 3), 0.5), np.full((1, 3), 1.25), [[1.0]], 0.3, causal=True)
    s = 3 * Fraction(5, 8) * Fraction(0.3)
    worst = horner(s * (1 + U) ** 4 * (1 + off_scale(0.3)), 2) - taylor(s, 2)
    assert_share(bound_of("taylor:order=2/packed", problem, F32).moved[0, 0], worst)
    # in bfloat16 the scaled q is rounded to factors: 2^-8 of the logit, beside 2^-8 of the weight
    f = Fraction(1, 2**8)
    s = 3 * Fraction(25, 4) * Fraction(0.3)
    problem = Problem(np.full((1, 3), 5.0), np.full((1, 3), 1.25), [[1.0]], 0.3, causal=True)
    worst = horner(s * (1 + U) ** 3 * (1 + f) * (1 + off_scale(0.3)), 2) * (1 + f) - taylor(s, 2)
    assert_share(bound_of("taylor:order=2/packed", problem, MIXED).moved[0, 0], worst, 0.99)


def test_queries_are_scaled_in_sums_before_they_are_factors() -> None:
    # sums of float16 and factors of bfloat16: a product with the scale is rounded to one and then to the other
    names = ("bfloat16", "bfloat16", "float16", "float16")
    arithmetic = Arithmetic("coarse", *(FORMATS[name] for name in names))
    s, f = Fraction(1, 2**11), Fraction(1, 2**8)
    held = abs(Fraction(float(np.float16(0.3))) / Fraction(0.3) - 1)
    logit = Fraction(15, 8) * Fraction(0.3)
    worst = logit * ((1 + held) / (1 - s) / (1 - f) - 1)
    found = bound_of("taylor:order=1/stream", one_key(1.5, 1.25, 0.3), arithmetic)
    # beside it the smallest number of float16 in seven steps of two features, times 1.25 for k: 2^-20 of 2^-8.3
    assert_share(found.moved[0, 0], worst, 0.99)


@pytest.mark.parametrize("order", [1, 2, 3, 8])
def test_weights_of_float64_are_themselves_evaluated_in_float64(order: int) -> None:
    # what the evaluation here has lost comes on top of the worst that float64 can do
    u, rng = Fraction(1, 2**53), np.random.default_rng(612)
    for q, k in rng.random((40, 2)) * 3:
        s = Fraction(q) * Fraction(k)
        found = bound_of(f"taylor:order={order}/scores", one_key(float(q), float(k), 1.0), F64)
        lost = abs(Fraction(float(found.weights[0, 0])) - taylor(s, order))
        worst = horner(s * (1 + u), order, u) - taylor(s, order)
        assert worst + lost <= Fraction(float(found.moved[0, 0]))
        # order 1 and 2 have features of no roundings at all but for these
        through = bound_of(f"taylor:order={order}/stream", one_key(float(q), float(k), 1.0), F64)
        worst = powers(s, order, Fraction(), u) - taylor(s, order)
        assert worst + lost <= Fraction(float(through.moved[0, 0]))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_sums_of_pairs_take_a_product_and_all_additions(n: int) -> None:
    # of the first token, and of all v where that is the only one that is not zero
    ones = np.ones((n, 1))
    problem = Problem(ones[:1], ones, ones)
    for name in ("softmax/softmax", "logexp/quadratic", "taylor:order=2/scores", "taylor:order=2/dense"):
        assert_share(bound_of(name, problem, F32).spread, (1 + U) ** n - 1)
    if n > 1:  # products of bfloat16 are exact
        assert_share(bound_of("softmax/softmax", problem, MIXED).spread, (1 + U) ** (n - 1) - 1)


@pytest.mark.parametrize(("chunk", "n"), [(1, 5), (2, 6), (3, 7), (16, 16)])
def test_sums_through_a_state_take_chunks_and_a_read_out(chunk: int, n: int) -> None:
    # the first token: a product, chunk - 1 additions, one for each later chunk, and m features to read it with: a
    # product and m - 1 additions, or one more where a chunk's own pairs are added
    ones = np.ones((n, 2))
    chunks = -(-n // chunk)
    for causal in (False, True):
        problem = Problem(ones, ones, ones, causal=causal)
        m = comb(2 + 3, 3)
        worst = (1 + U) ** (chunk + chunks - 1) * (1 + U) ** (m + causal) - 1
        found = bound_of(f"taylor:order=3/packed:chunk={chunk}", problem, F32)
        assert_share(found.spread, worst, 0.99)
    # degrees apart: as many more as are added up
    worst = (1 + U) ** (chunk + chunks - 1) * (1 + U) ** (m + 3) - 1
    problem = Problem(ones, ones, ones)
    assert_share(bound_of(f"taylor:order=3/packed:chunk={chunk},degrees=apart", problem, F32).spread, worst, 0.99)
    # kept in bfloat16: rounded to it with every chunk
    f = Fraction(1, 2**8)
    worst = (1 + U) ** (chunk + chunks - 1 + m) * (1 + f) ** chunks - 1
    found = bound_of(f"taylor:order=3/packed:chunk={chunk},storage=bfloat16", problem, F32)
    assert_share(found.spread, worst, 0.97)


def library(u: float, carrier: float = 2.0**-24) -> Any:
    """Return what exp of the carrier and rounding to a narrower format do."""
    return (1 + LIBRARY * mp.mpf(carrier)) * (1 + (mp.mpf(u) if u > carrier else 0))


@pytest.mark.parametrize("below", [2.0**-10, 1.0, 20.0])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("arithmetic", [F32, MIXED, B16], ids=lambda found: found.name)
def test_weights_of_softmax(arithmetic: Arithmetic, d: int, below: float) -> None:
    # two keys: their logits move apart or together by what either is off, the difference, exp and the weight are
    # rounded; what is common to both does not matter
    top = 3.0
    k = np.array([[top / d] * d, [(top - below) / d] * d])
    problem = Problem(np.ones((1, d)), k, [[1.0], [2.0]], 1.0)
    s, f = (2.0**-format_.precision for format_ in (arithmetic.sums, arithmetic.factors))
    for name in ("softmax/softmax", "softmax/online"):
        found = bound_of(name, problem, arithmetic)
        with mpmath_precision(200):
            count = d - (arithmetic is MIXED)
            moved = [abs(mp.mpf(x)) * ((1 + mp.mpf(s)) ** count - 1) for x in (top, top - below)]
            apart = mp.mpf(below) + moved[0] + moved[1]
            factor = mp.exp(moved[1] + s * apart) * library(s) * (1 + (mp.mpf(f) if arithmetic is MIXED else 0))
            worst = mp.exp(-mp.mpf(below)) * (factor - 1)
            reached = float(worst / float(found.moved[0, 1]))
        # second orders are up to 3 s |l| of the roundings, and those of bfloat16 and exp(-20), beyond it, more
        assert (0.999 if arithmetic is F32 else 0.9) <= reached <= 1


@pytest.mark.parametrize("keys", [1, 2, 3])
def test_online_weights_are_multiplied_once_a_tile(keys: int) -> None:
    # rising logits: the first weight goes down tile by tile, each time through an exponential of its own
    n, step = 6, 0.5
    k = step * np.arange(n)[:, None] + 1
    found = bound_of(f"softmax/online:keys={keys}", Problem([[1.0]], k, np.ones((n, 1)), 1.0), F32)
    later, u = n // keys - 1, mp.mpf(2) ** -24
    with mpmath_precision(200):
        way = step * (n - 1)
        moved = 1 * u
        factor = mp.exp(moved + u * way) * library(2.0**-24) ** (later + 1)
        worst = mp.exp(-mp.mpf(way)) * (factor - 1)
        assert 0.99 <= float(worst / float(found.moved[0, 0])) <= 1
    # the first token of the sums: a product, keys - 1 additions, and for every later tile a product and an addition
    assert_share(found.spread, (1 + U) ** (keys + 2 * later) - 1, 0.59)
    assert found.spread == pytest.approx(float((1 + U) ** (n + 2 * later) - 1), rel=1e-5)


@pytest.mark.parametrize(("tokens", "chunk"), [(8, 16), (100, 16), (136, 17), (4096, 512), (10_000, 512)])
def test_chunks_are_an_eighth_of_the_tokens(tokens: int, chunk: int) -> None:
    # between 16 and 512: bounds count the additions of chunks that the forms take
    assert chunk_of(tokens, 3, None) == chunk_of(3, tokens, None) == chunk
    if tokens <= 200:
        ones = np.ones((tokens, 1))
        problem = Problem(ones[:1], ones, ones)
        found = bound_of("taylor:order=1/packed", problem, F32)
        count = min(chunk, tokens) + -(-tokens // chunk) - 1 + 2
        assert found.spread == pytest.approx(count * 2.0**-24, rel=1e-4)


@pytest.mark.parametrize("bits", [3, 8, 11, 24])
def test_compensated_sums_lose_squares_of_the_roundoff(bits: int) -> None:
    # u = a: C + what is taken from V, the two joined with the larger first or not, and the rest that is stored, each of
    # numbers up to (1 + u)^2 M (see `verify.bounds.kept`); 16 u^2 in fine formats, and 24.1 u^2 for u = 1/8
    u = Fraction(1, 2**bits)
    c = 3 * u * (1 + u) ** 2
    joined = (1 + u) * (c + u)
    lost = (u * (c + u) + u * (joined + u) + u**2 * (1 + joined + u) + 6 * u**2) * (1 + u) ** 2
    assert 16 * u**2 <= lost <= COMPENSATED * u**2
    # six chunks, each of which may lose as much, after one product
    ones = np.ones((6, 1))
    (head,) = Problem(ones, ones, ones).each_head()
    pairs = Pairs(Problem(ones, ones, ones), head, np.arange(6), F32, accumulated)
    found = kept(pairs, None, compensated=True, chunk=1)
    expected = (1 + U) * (1 + 6 * COMPENSATED * U**2) - 1
    assert found.added == pytest.approx(float(expected), rel=1e-12)
    assert (found.arrays, found.size) == (2, float((1 + U) ** 6))
    # sums that are scaled lose as much again each time, and the accuracy of the arithmetic twice: V and C
    scaled = kept(pairs, None, compensated=True, chunk=1, scalings=5)
    expected = (1 + U) * (1 + 11 * COMPENSATED * U**2) * (1 + U) ** 10 - 1
    assert scaled.added == pytest.approx(float(expected), rel=1e-5)
    coarse = kept(pairs, "bfloat16", compensated=True, chunk=1, scalings=5)
    share = 11 * COMPENSATED * Fraction(1, 2**16)  # gamma_n of the squares; the arithmetic's are far below them
    assert coarse.added == pytest.approx(float(share / (1 - share)), rel=1e-3)
