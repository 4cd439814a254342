"""Weights that a polynomial of the logits has where its symmetric features, or coefficients, are got wrong."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, factorial

import numpy as np

from verify.attention.contract import Member
from verify.families.polynomial.polynomial import coefficients_of, nearest
from verify.numbers.arrays import Float64Array
from verify.problem import Head


def mistaken_weights(head: Head, rows: slice, member: Member) -> Iterator[tuple[str, Float64Array]]:
    """Yield what was got wrong, in words, and the weights that come of it in float64, [rows, n_k].

    Without multiplicities (q.k)^p becomes the complete homogeneous symmetric polynomial h_p of the products q_i k_i;
    p h_p = sum_r P_r h_(p - r) with the power sums P_r = sum_i (q_i k_i)^r (I. G. Macdonald, Symmetric Functions and
    Hall Polynomials, 2nd edition, I (2.11)).
    """
    coefficients = [nearest(c) for c in coefficients_of(member)]
    order, scale = len(coefficients) - 1, head.float_scale
    logits = head.logits(rows)
    yield "coefficients without factorials", _horner([c * factorial(p) for p, c in enumerate(coefficients)], logits)
    yield (
        "coefficients 1/p for 1/p!",
        _horner([c * factorial(max(0, p - 1)) for p, c in enumerate(coefficients)], logits),
    )
    if order > 0:
        yield "coefficients of the next powers", _horner([*coefficients[1:], coefficients[-1] / (order + 1)], logits)
        yield "coefficients of the powers before", _horner([coefficients[0], *coefficients[:-1]], logits)
        yield "no constant term", _horner([0.0, *coefficients[1:]], logits)
    if order > 1 and not head.adjusts:
        powers = [(head.q[rows] ** r) @ (head.k**r).T for r in range(1, order + 1)]
        h = [np.ones(logits.shape)]
        for p in range(1, order + 1):
            h.append(sum((powers[r - 1] * h[p - r] for r in range(1, p + 1)), np.zeros(logits.shape)) / p)
        weights = sum(c * scale**p * h[p] for p, c in enumerate(coefficients))
        yield "multiplicities left out", np.asarray(weights)
        d = head.q.shape[1]
        share = [comb(d + p - 1, p) / d**p for p in range(order + 1)]
        evened = sum(c * scale**p * h[p] / share[p] for p, c in enumerate(coefficients))
        yield "one multiplicity for all features of a power", np.asarray(evened)


def _horner(coefficients: list[float], logits: Float64Array) -> Float64Array:
    total = np.zeros(logits.shape)
    for c in reversed(coefficients):
        total = total * logits + c
    return total
