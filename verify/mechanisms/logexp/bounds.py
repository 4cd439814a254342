"""What rounding can do to the weights of log-exp attention."""

from __future__ import annotations

from dataclasses import replace
from math import expm1, inf, log, log1p

import numpy as np

from verify.attention.contract import Member
from verify.bounds.kept import kept
from verify.bounds.pairs import Pairs, WeightBound
from verify.mechanisms.logexp.state import CHUNK, MARGIN_BITS
from verify.numbers.arrays import Float64Array

# The largest x exp(-x): rounding x by a part of itself moves exp(-x) by no more than this part of 1.
_STEEPEST = 0.3679


def log_sums(q: Float64Array, k: Float64Array) -> tuple[Float64Array, float]:
    """Return log sum_i exp(q_i + k_ti) for all pairs in float64, and a bound on |q_i + k_ti|."""
    logits = np.full((len(q), len(k)), -np.inf)
    for i in range(q.shape[1]):
        logits = np.logaddexp(logits, q[:, i, None] + k[None, :, i])
    return logits, float(np.abs(q).max(initial=0.0) + np.abs(k).max(initial=0.0))


def quadratic(pairs: Pairs, member: Member) -> WeightBound:
    """Weights from l = log sum_i exp(a_i), a_i = q_i + k_ti.

    Each a_i is off by s |a_i|, and l by as much.  The distance x of a_i to the largest is off by s x, which exp(-x)
    takes to at most 0.37 s for each other i; exp adds its own error, and d - 1 additions theirs: the sum is off by a
    part r, its logarithm by -log(1 - r) and the library's error of it, and l by its own rounding.
    """
    logits, largest = log_sums(pairs.q, pairs.k)
    others = pairs.d - 1
    of_sum = (1.0 + _STEEPEST * others * pairs.s / (1.0 - pairs.s)) * (1.0 + pairs.gamma(others, pairs.s))
    if others:
        of_sum *= 1.0 + pairs.library(pairs.s)
    of_log = -log1p(1.0 - of_sum) if of_sum < 2.0 else inf
    of_log += (log(pairs.d) + of_log) * pairs.library(pairs.s)
    moved = pairs.s * largest + of_log + 2 * pairs.d * pairs.tiny
    moved = moved + pairs.s * (np.abs(logits) + moved)
    exponent, shifted = pairs.softmax_exponents(logits, moved, _doubt(pairs, largest))
    spread = pairs.gamma(max(0, pairs.n - pairs.exact), pairs.s)
    return _of_logits(pairs, logits, largest, exponent, shifted, spread)


def stream(
    pairs: Pairs, member: Member, *, chunk: int = CHUNK, storage: str | None = None, compensated: bool = False
) -> WeightBound:
    """Weights sum_i exp(q_i + m_i - a) exp(k_ti - m_i), m_i the maximum of a feature, which rises in C chunks.

    Exponents are off by s |q_i + m_i|, and by s times the rest, which leads from there down to the weight: 2 max |a_i|
    at most, and no more than what underflows.  In a causal chunk q_i + m_i may lie above a, by no more than the range
    of k or the limit of underflow there: that way is gone up and down.  Two exponentials are rounded to factors, and
    C - 1 multiply what is kept.  A causal chunk's own weights are rounded to factors again, and what underflows in them
    is below 2^-8 roundoffs of the largest for each feature.  Where the range of k asks for it, pairs are worked out one
    by one, which rounds less.  Sums: as kept, multiplied C - 1 times; d to read.
    """
    logits, largest = log_sums(pairs.q, pairs.k)
    later = max(0, pairs.chunks(chunk) - 1)
    way = min(2 * largest, 2 * pairs.lowest) * (3 if pairs.causal else 1)
    exponent = pairs.s * (largest * (1.0 + 4 * pairs.s) + way)
    exponent += 2 * pairs.library(pairs.f) + later * pairs.library(pairs.s)
    state = kept(pairs, storage, compensated, chunk, scalings=later)
    spread = state.spread(pairs, pairs.d, more=int(pairs.causal))
    under = 2 * pairs.d * pairs.tiny
    if pairs.causal:
        exponent += pairs.narrowed
        under += pairs.d * 2.0**-MARGIN_BITS * pairs.f
    shifted = np.full((len(logits), 1), pairs.s * largest)
    found = _of_logits(pairs, logits, largest, np.full_like(logits, exponent), shifted, spread)
    moved = found.moved + under
    overflows = found.overflows or (storage is not None and state.overflows(pairs.n * max(1.0, pairs.values)))
    lost = found.absolute + 2 * pairs.d * (pairs.n + 2) * state.tiny
    return replace(found, moved=moved, size=found.weights + moved, overflows=overflows, absolute=lost)


def linear(pairs: Pairs, member: Member) -> WeightBound:
    """Every token adds exp(k_ti) v to logarithms H of sums, in n - 1 steps after the first, which is exact.

    With M the magnitudes that are added up, all relative to M, as V |log V| <= M (|log M| + 0.37) for sums V that
    cancel: log |v| and k + log |v| are rounded; a step rounds the distance of its two logarithms (0.37 s), an
    exponential, their sum, its logarithm (of at most 2: 1.39), and the new H (|log M| + 0.37).  A read-out rounds q +
    H, its distance x to the largest of Z, an exponential, and d - 1 additions.
    """
    logits, largest = log_sums(pairs.q, pairs.k)
    s, library = pairs.s, pairs.library(pairs.s)
    logs = np.abs(np.log(np.abs(pairs.head.v[pairs.head.v != 0])))
    of_v = float(logs.max(initial=0.0))
    components = float(np.abs(pairs.head.k).max(initial=0.0))
    highest = components + of_v + log(max(1, pairs.n))
    entry = library * of_v + s * (components + of_v * (1.0 + library))
    step = s * (2 * _STEEPEST + 1.0 + highest) + library * (1.0 + 1.39)
    distance = min(2 * largest + of_v + log(max(1, pairs.n)), 2 * pairs.lowest)
    read = s * (largest + of_v + log(max(1, pairs.n)) + distance + 2 * _STEEPEST) + library
    exponent = entry + max(0, pairs.n - 1) * step + read
    # all of these multiply: second orders are in exp, but for the roundings of numbers that were rounded before
    of_parts = expm1(exponent * (1.0 + 8 * s)) if exponent < 350.0 else inf
    spread = (1.0 + of_parts) * (1.0 + pairs.gamma(pairs.d - 1, s)) - 1.0
    shifted = np.full((len(logits), 1), exponent)
    return _of_logits(pairs, logits, largest, np.zeros_like(logits), shifted, spread)


def _doubt(pairs: Pairs, largest: float) -> float:
    """Return how far off logarithms of sums may be here."""
    return float((pairs.d + 4) * 2.0**-50 * (1 + largest))


def _of_logits(
    pairs: Pairs, logits: Float64Array, largest: float, exponent: Float64Array, shifted: Float64Array, spread: float
) -> WeightBound:
    found = pairs.exponentials(logits, exponent, shifted, _doubt(pairs, largest), spread)
    # a weight is a sum of d components, the largest of a row 1; each may lose a tiny number for every token
    absolute = 2 * pairs.d * (pairs.n + 2) * pairs.tiny
    overflows = pairs.overflows(pairs.d * max(1, pairs.n), sums=2 * largest, factors=float(pairs.d))
    return replace(found, absolute=absolute, overflows=overflows)
