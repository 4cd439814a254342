"""What exact values cost: against the textbook loop, against unavoidable arithmetic, and with two processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from flint import arb, arb_mat
from mpmath import mp

from tests.benchmarks.measurements import Measurement, ratio
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.precision import bits_for, flint_precision, mpmath_precision
from verify.parallel.executors import worker_pool
from verify.problem import Problem
from verify.truth import reference, references
from verify.truth.enclosure import GUARD_BITS

DIGITS = 50
SIZE = 64


def measurements() -> Iterator[Measurement]:
    """Yield the ratios one by one, each named with its sizes."""
    problem = normal(128)
    yield ratio(
        "textbook mpmath loop / reference, n = 128, d = 64, one process",
        "at least 20",
        textbook_loop(problem),
        lambda: reference(problem, DIGITS),
    )
    larger = normal(512)
    yield ratio(
        "reference / raw arb_mat products and arb.exp, n = 512, d = 64",
        "at most 1.8",
        lambda: reference(larger, DIGITS),
        raw_arithmetic(larger),
        turns=9,
    )
    for tokens in (128, 512):
        yield all_orders(normal(tokens))
    with worker_pool(2) as pool:
        largest = normal(2048)  # the first turn, which does not count, starts the processes
        yield ratio(
            "one process / two, n = 2048, d = 64, start-up apart",
            "at least 1.7",
            lambda: reference(largest, DIGITS),
            lambda: reference(largest, DIGITS, executor=pool),
            turns=3,
        )


def all_orders(problem: Problem) -> Measurement:
    """Return what all orders up to 15 cost, against the last alone."""
    return ratio(
        f"Taylor orders 0 to 15 / order 15 alone, n = {problem.queries}, d = 64",
        "at most 2",
        lambda: references(problem, [TAYLOR.member(order=order) for order in range(16)], DIGITS),
        lambda: reference(problem, DIGITS, "taylor:order=15"),
        turns=3,
    )


def normal(tokens: int) -> Problem:
    """Return one head of normal q, k, v with as many tokens."""
    return Problem(*np.random.default_rng(51).standard_normal((3, tokens, SIZE)))


def textbook_loop(problem: Problem) -> Callable[[], object]:
    """Return softmax attention as it is written down with mpmath; the inputs are mpf already, which is not timed."""
    with mpmath_precision(bits_for(DIGITS)):
        q, k, v = ([[mp.mpf(x) for x in row] for row in array.tolist()] for array in (problem.q, problem.k, problem.v))
        columns = list(zip(*v, strict=True))
        scale = 1 / mp.sqrt(SIZE)

    def loop() -> list[list[object]]:
        output = []
        with mpmath_precision(bits_for(DIGITS)):
            for query in q:
                weights = [mp.exp(mp.fdot(query, key) * scale) for key in k]
                total = mp.fsum(weights)
                output.append([mp.fdot(weights, column) / total for column in columns])
        return output

    return loop


def raw_arithmetic(problem: Problem) -> Callable[[], object]:
    """Return the two matrix products and the exponentials of softmax alone, on balls that are there already."""
    bits = bits_for(DIGITS) + 1 + GUARD_BITS
    with flint_precision(bits):
        n, values = problem.keys, np.pad(problem.v, ((0, 0), (0, 1)), constant_values=1.0)
        queries = arb_mat(n, SIZE, problem.q.ravel().tolist()) * arb(SIZE).rsqrt()
        keys = arb_mat(n, SIZE, problem.k.ravel().tolist()).transpose()
        right = arb_mat(n, SIZE + 1, values.ravel().tolist())
        logits = (queries * keys).entries()
        weights = arb_mat(n, n, [s.exp() for s in logits])

    def arithmetic() -> tuple[object, ...]:
        with flint_precision(bits):
            return queries * keys, list(map(arb.exp, logits)), weights * right

    return arithmetic
