"""Bounds on rounding errors of every form in every arithmetic, before anything is computed in it.

f, s, o are the unit roundoffs of factors, sums and output; tiny ones their smallest numbers.  A form computes weights
w_t + dw_t, which numerator and Z share, and adds up each of them by itself with relative errors of at most g:

    |computed - exact| <= [sum_t |dw_t| |v_t - y| + g sum_t a_t (|v_t| + |y|)] / (|Z| - sum_t |dw_t| - g sum_t a_t),

a_t >= |w_t| + |dw_t| being the size of what is added up for token t; the division and the rounding of the output come
on top.  Any factor that all weights of a row share cancels.  What dw_t and g are is derived with each form's weights.
Number-of-roundings arguments are those of N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
sections 3.1 (sums and products), 3.5 (matrix products) and 5.1 (Horner's rule).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np

from verify.attention import logexp_state, softmax, taylor_state
from verify.bounds.unit import Accumulated, accumulated, accumulated_probably
from verify.cost import dense_feature_count, feature_count
from verify.measure.weights import truncated_exponential
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Head, Problem
from verify.truth import Reference
from verify.truth.mechanisms import undefined_mechanism

# Roundings that exp and log of the libraries are taken to have: at most 4 units in the last place, as numpy's own tests
# allow them, and a unit in the last place is two unit roundoffs.
LIBRARY = 8.0

# What evaluating a bound in float64 may have lost of it: every term is a sum of positive numbers.
_EVALUATION = 1.0 + 2.0**-30


@dataclass(frozen=True)
class RoundingBound:
    """Bounds on |computed - exact| for every element, [..., H, n_q, d_v]; infinite where none is known.

    sure: whatever the signs of the roundings.  probable: if they are independent with mean zero, `LAMBDA` says how
    probable.
    """

    sure: Float64Array
    probable: Float64Array


def rounding_bound(
    problem: Problem, exact: Reference, form: str, arithmetic: Arithmetic, order: int | None = None
) -> RoundingBound:
    """Return bounds on the rounding error of a form on inputs that the arithmetic holds exactly.

    exact: the exact output of the mechanism and order on these inputs.
    """
    found = []
    for gamma in (accumulated, accumulated_probably):
        bound = np.zeros(problem.output_shape)
        with np.errstate(all="ignore"):
            for head in problem.each_head():
                weights = _Pairs(problem, head, arithmetic, gamma).weights(exact.mechanism, form, order)
                bound[head.index] = _of_outputs(head, weights, exact.value[head.index], arithmetic)
        bound = np.where(np.isnan(bound), np.inf, bound * _EVALUATION)
        found.append(np.where(problem.attended_rows[..., None], bound, 0.0))
    return RoundingBound(found[0], np.minimum(found[0], found[1]))


@dataclass(frozen=True)
class _Weights:
    """Exact weights of one head, up to a factor for each row, and how they are computed.

    weights, moved, size: [n_q, n_k], w_t, bounds on |dw_t| and on a_t.  spread: g.  evaluation: relative to a_t, how
    far off w_t may be here.  overflows: whether something may exceed the largest number.  absolute: what underflow may
    take from numerator and Z by itself, whatever v is.
    """

    weights: Float64Array
    moved: Float64Array
    size: Float64Array
    spread: float
    evaluation: float
    overflows: bool
    absolute: float = 0.0


def _of_outputs(head: Head, found: _Weights, y: Float64Array, arithmetic: Arithmetic) -> Float64Array:
    s, o = (2.0**-format_.precision for format_ in (arithmetic.sums, arithmetic.output))
    n = head.k.shape[0]
    if found.overflows:
        return np.full(y.shape, np.inf)
    attended = head.attended()
    weights, moved, size = (np.where(attended, x, 0.0) for x in (found.weights, found.moved, found.size))
    z = np.abs(weights.sum(axis=1, keepdims=True))
    lost = moved.sum(axis=1, keepdims=True)
    added = size.sum(axis=1, keepdims=True)
    left = z - lost - (found.spread + found.evaluation) * added - found.absolute
    # |v_t - y| <= |v_t - c| + |y - c| for the mean c of v, which keeps a large mean from counting
    middle = head.v.mean(axis=0) if n else np.zeros(y.shape[1])
    numerator = moved @ np.abs(head.v - middle) + lost * np.abs(y - middle)
    numerator += found.spread * (size @ np.abs(head.v) + added * np.abs(y))
    numerator += (found.absolute + 2 * n * arithmetic.sums.smallest) * (1 + np.abs(y))
    relative = numerator / left
    bound = relative + (np.abs(y) + relative) * (s + o + s * o) + arithmetic.output.smallest + arithmetic.sums.smallest
    largest = min(arithmetic.output.largest, arithmetic.sums.largest)
    reached = np.abs(y) + bound > largest
    return np.where((left > 0) & ~reached, bound, np.where(attended.any(axis=1, keepdims=True), np.inf, 0.0))


class _Pairs:
    """One head in one arithmetic: the weights of each form, for every query and key."""

    def __init__(self, problem: Problem, head: Head, arithmetic: Arithmetic, gamma: Accumulated) -> None:
        self.head, self.gamma = head, gamma
        self.f, self.s = (2.0**-format_.precision for format_ in (arithmetic.factors, arithmetic.sums))
        self.tiny = arithmetic.factors.smallest + arithmetic.sums.smallest
        self.largest = min(arithmetic.factors.largest, arithmetic.sums.largest)
        self.lowest = -log(arithmetic.factors.smallest)  # exp(-lowest) is the smallest number
        self.d, self.n = head.q.shape[1], head.k.shape[0]
        self.values = float(np.abs(head.v).max(initial=0.0))
        self.scale: float = abs(problem.head_size**-0.5 if problem.scale is None else problem.scale)
        self.signed = problem.head_size**-0.5 if problem.scale is None else problem.scale
        self.causal = problem.causal

    def weights(self, mechanism: str, form: str, order: int | None) -> _Weights:
        """Return the weights of a form."""
        forms: dict[tuple[str, str], Callable[[], _Weights]] = {
            ("softmax", "softmax"): self._softmax,
            ("softmax", "online"): self._online,
            ("logexp", "quadratic"): self._quadratic,
            ("logexp", "stream"): self._logexp_stream,
            ("logexp", "linear"): self._logexp_linear,
            ("taylor", "scores"): lambda: self._scores(order or 0),
            ("taylor", "packed"): lambda: self._packed(order or 0),
            ("taylor", "stream"): lambda: self._stream(order or 0),
            ("taylor", "dense"): lambda: self._dense(order or 0),
        }
        if (mechanism, form) not in forms:
            raise undefined_mechanism(f"{mechanism}/{form}", "bound on its rounding")
        return forms[mechanism, form]()

    def _logits(self, more: float = 0.0) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return logits, L = |scale| sum_i |q_i k_i|, and a bound on what rounding does to a logit.

        A sum of d products, multiplied by a scale that took a square root and a division: d + 3 roundings.  more: the
        relative error of q.
        """
        size = self.scale * (np.abs(self.head.q) @ np.abs(self.head.k).T)
        logits = self.signed * (self.head.q @ self.head.k.T)
        moved = ((1.0 + self.gamma(self.d + 3, self.s)) * (1.0 + more) - 1.0) * size
        return logits, size, moved + (self.d + 1) * self.tiny * (1 + self.scale) * (1 + self._components())

    def _components(self) -> float:
        return float(max(np.abs(self.head.q).max(initial=0.0), np.abs(self.head.k).max(initial=0.0)))

    def _exponentials(self, logits: Float64Array, moved: Float64Array, doubt: float, spread: float) -> _Weights:
        """Return weights exp(l_t - top), top being the largest computed logit: exact, and a factor of the whole row.

        A logit is off by `moved`, the difference rounded once, exp and its result by LIBRARY + 1 roundings, and the
        weight to a factor.  doubt: how far off logits may be here.
        """
        attended = self.head.attended()
        top = np.where(attended, logits, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0.0)
        shifted = np.where(attended, moved, 0.0).max(axis=1, keepdims=True, initial=0.0)  # the computed one is off, too
        below = np.maximum(top - logits, 0.0) + moved + shifted
        weights = np.exp(logits - top)
        exponent = moved + self.s * np.minimum(below, 2 * self.lowest) + self.gamma(LIBRARY + 1, self.s) + self.f
        change = (weights * np.expm1(exponent) + 2 * self.tiny) * np.exp(shifted)
        return _Weights(weights, change, weights + change, spread, 4 * doubt + 2.0**-45, self._overflows(self.n))

    def _overflows(self, *reached: float) -> bool:
        """Return whether a number of this size, times one of v, or a component may exceed the largest number."""
        sizes = [*(x * max(1.0, self.values) for x in reached), self._components() * max(1.0, self.scale)]
        return not all(2 * size <= self.largest for size in sizes)

    def _products(self) -> float:
        """Return the largest sum_i |q_i k_i|, or that scaled: it is added up before it is scaled, attended or not."""
        largest = (np.abs(self.head.q) @ np.abs(self.head.k).T).max(initial=0.0)
        return float(largest) * max(1.0, self.scale)

    def _attended(self, pairs: Float64Array) -> float:
        """Return the largest of those numbers whose query sees the key."""
        return float(np.where(self.head.attended(), pairs, 0.0).max(initial=0.0))

    def _softmax(self) -> _Weights:
        """Both sums take n additions."""
        return self._conventional(0.0, self.gamma(self.n + 1, self.s))

    def _online(self) -> _Weights:
        """Each of T tiles multiplies what there is by exp(m - m'), of which the exponents add up to the rise of m.

        That is shared by both sums; the products with it are not.
        """
        logits, _, _ = self._logits()
        tiles = ceil(self.n / softmax.ONLINE_KEYS)
        rise = min(2 * self._attended(np.abs(logits)), 2 * self.lowest)
        shared = self.gamma(tiles * (LIBRARY + 1), self.s) + self.s * rise
        return self._conventional(shared, self.gamma(self.n + 1 + 2 * tiles, self.s))

    def _conventional(self, shared: float, spread: float) -> _Weights:
        logits, size, moved = self._logits()
        found = self._exponentials(logits, moved + shared, (self.d + 8) * 2.0**-52 * (1 + self._attended(size)), spread)
        return replace(found, overflows=found.overflows or not 2 * self._products() <= self.largest)

    def _horner(self, order: int, moved: Float64Array) -> Float64Array:
        """Return what a logit off by `moved` and 3 N roundings of Horner's rule do to T_N(s).

        |T_N(s') - T_N(s)| is at most the integral of T_{N-1} from |s| to |s| + moved.
        """
        reached = np.abs(self.signed * (self.head.q @ self.head.k.T)) + moved
        found = moved * truncated_exponential(reached, order - 1) if order else np.zeros_like(moved)
        heavy = truncated_exponential(reached, order)
        return np.asarray(found + self.gamma(3 * order, self.s) * heavy + 3 * order * self.tiny * (1 + heavy))

    def _scores(self, order: int) -> _Weights:
        """Logits, Horner's rule, and the weight rounded to a factor."""
        _, size, moved = self._logits()
        return self._polynomial_weights(order, size, self._horner(order, moved), self.gamma(self.n + 1, self.s))

    def _polynomial_weights(
        self, order: int, size: Float64Array, moved: Float64Array, spread: float, *, by_features: bool = False
    ) -> _Weights:
        """Return weights T_N(s_t); by_features: what is added up is features, of the size T_N(L_t) together."""
        weights, heavy = (
            truncated_exponential(self.signed * (self.head.q @ self.head.k.T), order),
            truncated_exponential(size, order),
        )
        # how far off the weights may be here; where they cancel, that may be more than they are
        doubt = 4 * (order + 1) * (order + self.d + 4) * 2.0**-53 * heavy
        moved = moved + self.f * (np.abs(weights) + moved) + self.tiny + doubt
        added = (heavy if by_features else np.abs(weights)) + moved
        reached = max(1.0, self.n * self._attended(heavy)), self._products()
        return _Weights(weights, moved, added, spread, 0.0, self._overflows(*reached))

    def _features(self, order: int) -> float:
        """Return a bound on the relative error of a product of features and a coefficient, of the highest degree.

        q is scaled by a number off by two roundings and rounded: 3 s + f for each factor.  Monomials take N - 1
        products on either side; dividing by exponents, rounded themselves where they are roots, 2 (N - 1) on either.
        """
        products = 6 * max(0, order - 1)
        return (1.0 + self.gamma(3 * order, self.s)) * (1.0 + self.gamma(order + products, self.f)) - 1.0

    def _underflow(self, order: int, features: int) -> float:
        """Return a bound on what underflow takes from a weight: at most a tiny number in each step of each feature."""
        return features * 2 * (order + 2) * self.tiny * float(np.prod(self._sides())) ** order

    def _sides(self) -> list[float]:
        """Return the largest components of the scaled q and of k, or 1."""
        return [max(1.0, float(np.abs(x).max(initial=0.0))) for x in (self.scale * self.head.q, self.head.k)]

    def _from_features(self, found: _Weights, order: int) -> _Weights:
        """Return the weights with what features, and their sums over tokens, may exceed, and lose to underflow.

        Products with v underflow by a tiny number in every token and feature, times the other side's feature; so do
        those of x_j and v, times features of either side, and those of a read-out.
        """
        of_q, of_k = self._sides()[0] ** order, self._sides()[1] ** order
        absolute = 2 * feature_count(self.d, order) * (self.n + 2) * self.tiny * of_q * of_k
        overflows = found.overflows or self._overflows(of_q, max(1, self.n) * of_k)
        return replace(found, overflows=overflows, absolute=absolute)

    def _stream(self, order: int) -> _Weights:
        """Features are shared by both sums; n additions to the state, m to read it, and three roundings of x_j v."""
        _, size, _ = self._logits()
        features = feature_count(self.d, order)
        moved = self._features(order) * truncated_exponential(size, order) + self._underflow(order, features)
        spread = self.gamma(self.n + features + 4 + order, self.s)
        return self._from_features(self._polynomial_weights(order, size, moved, spread, by_features=True), order)

    def _packed(self, order: int) -> _Weights:
        """Through the state, or in a causal problem for a chunk's own pairs by their logits."""
        through = self._stream(order)
        if not self.causal:
            return through
        _, size, moved = self._logits(more=self.f)
        own = self._polynomial_weights(order, size, self._horner(order, moved), through.spread)
        chunk = min(taylor_state.CHUNK, max(16, self.n // 8))
        inside = np.arange(len(size))[:, None] // chunk == np.arange(size.shape[1]) // chunk
        return replace(
            through,
            moved=np.where(inside, own.moved, through.moved),
            size=np.where(inside, own.size, through.size),
            overflows=own.overflows or through.overflows,
        )

    def _dense(self, order: int) -> _Weights:
        """Features as in `_stream`, with 1 / p! rounded and multiplied; weights are sums over all d^p of them."""
        _, size, _ = self._logits()
        features = dense_feature_count(self.d, order)
        relative = (1.0 + self._features(order)) * (1.0 + self.gamma(2, self.f))
        relative = relative * (1.0 + self.gamma(features + order + 2, self.s)) - 1.0
        moved = relative * truncated_exponential(size, order) + self._underflow(order, features)
        found = self._polynomial_weights(order, size, moved, self.gamma(self.n + 1, self.s))
        return self._from_features(found, order)

    def _sums(self) -> tuple[Float64Array, float]:
        """Return log sum_i exp(q_i + k_ti) for all pairs, and a bound on |q_i + k_ti|."""
        q, k = self.head.q, self.head.k
        logits = np.full((len(q), len(k)), -np.inf)
        for i in range(self.d):
            logits = np.logaddexp(logits, q[:, i, None] + k[None, :, i])
        return logits, float(np.abs(q).max(initial=0.0) + np.abs(k).max(initial=0.0))

    def _logexp(self, moved: Float64Array, spread: float) -> _Weights:
        logits, largest = self._sums()
        found = self._exponentials(logits, moved, (self.d + 4) * 2.0**-50 * (1 + largest), spread)
        # a weight is a sum of d components, the largest of a row 1; each may lose a tiny number for every token
        absolute = 2 * self.d * (self.n + 2) * self.tiny
        return replace(found, absolute=absolute, overflows=self._overflows(self.d * max(1, self.n)))

    def _quadratic(self) -> _Weights:
        """Weights from log sum_i exp(a_i), a_i = q_i + k_ti.

        Each a_i is off by s |a_i|; its distance x to the largest by s x, which exp(-x) takes to at most 0.37 s for each
        i; exp, d additions and log by their roundings; adding the largest by s times the result.
        """
        logits, largest = self._sums()
        moved = self.s * (2 * largest + 0.37 * self.d + (LIBRARY + 1) * (1 + log(self.d + 1)) + np.abs(logits))
        moved = moved + self.gamma(self.d + LIBRARY, self.s) + 2 * self.d * self.tiny
        return self._logexp(moved, self.gamma(self.n + 1, self.s))

    def _logexp_stream(self) -> _Weights:
        """Weights sum_i exp(q_i + m_i - a) exp(k_ti - m_i), m_i the maximum of a feature, which rises in C chunks.

        Exponents are off by s |q_i + m_i|, by s times their own size, of which no more counts than what underflows, and
        by s times the rise of m_i; exponentials by LIBRARY + 1 each, two of them rounded to factors.  What underflows
        is below 2^-8 roundoffs of the largest weight for each feature.  Sums: n additions, C products, d to read.
        Where the range of k asks for it, pairs are worked out one by one, which rounds less.
        """
        logits, largest = self._sums()
        chunks = ceil(self.n / logexp_state.CHUNK)
        moved = self.s * (2 * largest + 4 * min(2 * largest, 2 * self.lowest))
        moved += self.gamma((chunks + 3) * (LIBRARY + 1), self.s) + self.gamma(3, self.f)
        spread = self.gamma(self.n + self.d + 2 * chunks + 3, self.s)
        found = self._logexp(np.full_like(logits, moved), spread)
        less = found.moved + self.d * (2.0**-logexp_state.MARGIN_BITS * self.f + 2 * self.tiny)
        return replace(found, moved=less, size=found.weights + less)

    def _logexp_linear(self) -> _Weights:
        """Every token adds to logarithms H: a step rounds exponents of size |H|, two exponentials, a sum, a logarithm.

        Errors of a step are relative to the larger of |H_S| and exp(k) |v|, so to the sum of all magnitudes; n steps.
        """
        logits, largest = self._sums()
        sizes = np.abs(self.head.v[self.head.v != 0])
        highest = 1 + largest + log(self.n + 1) + float(np.abs(np.log(sizes)).max(initial=0.0))
        each = self.s * (4 * highest + 4 * (LIBRARY + 1))
        spread = float(np.expm1((self.n + 3) * np.log1p(each))) + self.gamma(self.d + 2 * LIBRARY, self.s)
        return self._logexp(np.full_like(logits, each), spread)
