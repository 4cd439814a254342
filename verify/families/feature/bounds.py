"""What rounding can do to weights phi(q).phi(k), from a running account of the rounding of phi."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.attention.contract import Member
from verify.bounds.kept import kept
from verify.bounds.pairs import Pairs, WeightBound, largest_of
from verify.families.feature.features import features_of
from verify.families.feature.state import CHUNK
from verify.families.tracked import TrackedField, stacked
from verify.numbers.arrays import Float64Array


def pairs(pairs: Pairs, member: Member) -> WeightBound:
    """Features are off by their own rounding; a weight is a sum of m products, rounded to sums and to a factor."""
    features = _Features(pairs, member)
    moved = features.multiplied(features.moved)
    largest = pairs.largest_attended(features.size)
    overflows = pairs.overflows(max(1.0, pairs.n * largest), factors=max(1.0, largest, features.largest))
    spread = pairs.gamma(max(0, pairs.n - pairs.exact), pairs.s)
    weights = features.weights
    return WeightBound(weights, moved, np.abs(weights) + moved, spread, 0.0, overflows or features.unknown)


def stream(
    pairs: Pairs,
    member: Member,
    *,
    chunk: int | None = None,
    storage: str | None = None,
    compensated: bool = False,
) -> WeightBound:
    """Features are shared by both sums, which are kept from chunk to chunk and read with m features of queries.

    What is added up is features, of the size sum_i |phi_i(q) phi_i(k_t)|.  A causal chunk's own pairs are worked out as
    in `pairs`, and added to what was read.
    """
    count = CHUNK if chunk is None else chunk
    features = _Features(pairs, member)
    state = kept(pairs, storage, compensated, count)
    spread = state.spread(pairs, features.count, more=int(pairs.causal))
    moved, size = features.moved, features.size
    if pairs.causal:
        inside = pairs.inside(count)
        own = features.multiplied(features.moved)
        size = np.where(inside, np.abs(features.weights) + own, size)
        moved = np.where(inside, own, moved)
    of_q, of_k = (largest_of(x, 1.0) for x in (features.of_q, features.of_k))
    absolute = 2 * features.count * (pairs.n + 2) * (pairs.tiny + state.tiny) * of_q * of_k
    largest = max(1.0, pairs.largest_attended(features.size))
    in_state = max(1, pairs.n) * of_k
    overflows = pairs.overflows(max(pairs.n * largest, in_state), factors=max(of_q, of_k, largest))
    overflows = overflows or (storage is not None and state.overflows(in_state * max(1.0, pairs.values)))
    return WeightBound(features.weights, moved, size, spread, 0.0, overflows or features.unknown, absolute)


@dataclass(frozen=True)
class _Side:
    value: Float64Array
    off: Float64Array

    @property
    def most(self) -> Float64Array:
        return np.abs(self.value) + self.off


class _Features:
    """Exact weights [rows, n_k], what features that are off do to them, the sizes of their terms, and |phi|.

    of_q, of_k: bounds on |phi| of computed features, [rows, m] and [n_k, m].  unknown: whether some feature has no
    bound.
    """

    def __init__(self, pairs: Pairs, member: Member) -> None:
        self.pairs = pairs
        field = TrackedField(pairs.arithmetic.factors, pairs.carrier)
        sides = []
        for tokens in (pairs.q, pairs.k):
            components = [field.number(np.ascontiguousarray(x)) for x in tokens.T]
            scale = field.scale(pairs.head.scale, pairs.d)
            sides.append(_Side(*stacked(features_of(field, components, scale, member), len(tokens), field)))
        q, k = sides
        self.count = q.value.shape[1]
        self.of_q, self.of_k = q.most, k.most
        self.largest = max(largest_of(x) for x in (self.of_q, self.of_k))
        self.weights: Float64Array = q.value @ k.value.T
        self.size: Float64Array = self.of_q @ self.of_k.T
        moved = np.abs(q.value) @ k.off.T + q.off @ self.of_k.T
        # what evaluating the weights here may have lost, and underflow of their products
        self.moved: Float64Array = moved + (self.count + 2) * 2.0**-53 * self.size + self.count * 2.0**-1074
        self.unknown = not (np.isfinite(q.off).all() and np.isfinite(k.off).all())

    def multiplied(self, moved: Float64Array) -> Float64Array:
        """Return how far off weights are that are sums of m products of features, rounded to factors."""
        pairs = self.pairs
        sums = moved + pairs.gamma(max(0, self.count - pairs.exact), pairs.s) * self.size + self.count * pairs.tiny
        return np.asarray(sums + pairs.narrowed * (np.abs(self.weights) + sums) + pairs.tiny)
