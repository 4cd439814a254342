"""Rows of attention weights: those of a mechanism beside those of softmax, and what can go wrong in them.

Worked out in float64 from the logits, a few rows at a time; what that leaves undecided is counted, not guessed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.measure.summary import Example, WeightSummary
from verify.mechanisms.registry import baseline
from verify.numbers.arrays import Float64Array
from verify.problem import Head, Problem
from verify.problem.selection import of_query

# Pairs of a query and a key whose weights are held at once.
PAIRS = 1 << 20

# Two weights of a row closer than this part of the larger one are not told apart: float64 errs by less than 2**-40
# up to logits of thousands.
UNDECIDED = 2.0**-36

# A sum of weights below this part of the sum of their magnitudes is tiny: three digits of a result are lost to it.
TINY = 1e-3


def case_of(example: Example, problem: Problem) -> Problem:
    """Return the one query of an example with the keys that it sees, or with the one key: the case by itself."""
    heads = {head.index: head for head in problem.each_head()}
    name = f"{problem.name}, head {list(example.head)}, query {example.query}"
    return of_query(problem, heads[example.head], example.query, name, example.key)


def compare_weights(problem: Problem, member: Member) -> WeightSummary:
    """Return how the weights of a member differ from those of softmax, and their hazards."""
    tally, softmax = _Tally(problem), baseline().member
    step = max(1, PAIRS // max(1, problem.keys))
    with np.errstate(all="ignore"):
        for head in problem.each_head():
            for first in range(0, problem.queries, step):
                rows = slice(first, first + step)
                attended = head.attended(rows)
                shares, _ = softmax.mechanism.float_weights(head, rows, attended, softmax)
                found = member.mechanism.float_weights(head, rows, attended, member)
                weights, magnitudes = (np.where(attended, x, 0.0) for x in found)
                tally.add(head, rows, attended, np.where(attended, shares, 0.0), weights, magnitudes)
    return tally.summary()


def _last(places: NDArray[np.int64]) -> int:
    return int(places.max(initial=0))


class _Tally:
    """What `compare_weights` has seen so far."""

    def __init__(self, problem: Problem) -> None:
        standing = [numbers for pair in problem.standing.values() for numbers in pair]
        longest = max(1, 1 + max(map(_last, standing)) + max(_last(-numbers) for numbers in standing))
        self.edges = [0, *(1 << i for i in range(longest.bit_length()))]
        self.moved, self.held = np.zeros(len(self.edges)), np.zeros(len(self.edges))
        self.pairs = self.rows = self.undecided = self.negative = self.tiny = 0
        self.agreeing = self.variation = self.largest_variation = 0.0
        self.worst: dict[str, Example] = {}
        self.badness: dict[str, float] = {}

    def add(
        self,
        head: Head,
        rows: slice,
        attended: NDArray[np.bool_],
        softmax: Float64Array,
        weights: Float64Array,
        magnitudes: Float64Array,
    ) -> None:
        """Take in some rows of a head."""
        keys = slice(len(head.k))
        seen = np.flatnonzero(attended[:, keys].any(axis=1))
        if not seen.size:
            return
        attended = attended[seen]
        softmax, weights, magnitudes = (x[seen] for x in (softmax, weights, magnitudes))
        z = weights.sum(axis=1, keepdims=True)
        total = np.abs(weights).sum(axis=1, keepdims=True)
        shares = weights / z
        gap = np.abs(shares - softmax) / 2
        gap = np.where(np.isnan(gap), np.inf, gap)
        variation = gap.sum(axis=1)
        self.variation += float(variation.sum())
        self.largest_variation = max(self.largest_variation, float(variation.max()))
        # of a sink no more is said: it is no key
        attended = attended[:, keys]
        softmax, shares, gap, weights, magnitudes = (x[:, keys] for x in (softmax, shares, gap, weights, magnitudes))
        self.pairs += int(attended.sum())
        self.rows += len(seen)
        self._tops(attended, softmax, shares)
        self.negative += int((weights < 0).sum())
        tiny = ~(z > TINY * total)[:, 0]
        self.tiny += int(tiny.sum())
        cancelled = np.where(attended, magnitudes / np.abs(weights), 0.0)
        cancelled = np.where(np.isnan(cancelled), np.inf, cancelled)
        lost = np.where(np.isnan(total / np.abs(z)), np.inf, total / np.abs(z))[:, 0]
        queries = seen + (rows.start or 0)
        self._keep("negative weight", head, queries, -np.where(attended, weights, 0.0) / total, weights)
        self._keep("tiny Z", head, queries, np.where(tiny, lost, 0.0), z[:, 0])
        self._keep("cancellation in a weight", head, queries, np.where(cancelled > 1 + 1e-9, cancelled, 0.0), cancelled)
        self._keep("cancellation in Z", head, queries, np.where(lost > 1 + 1e-9, lost, 0.0), lost)
        places = np.searchsorted(self.edges, head.distances(queries), side="right") - 1
        self.moved += np.bincount(places[attended], gap[attended], len(self.edges))
        self.held += np.bincount(places[attended], softmax[attended], len(self.edges))

    def _tops(self, attended: NDArray[np.bool_], softmax: Float64Array, shares: Float64Array) -> None:
        close = []
        for weights in (softmax, shares):
            shown = np.where(attended & ~np.isnan(weights), weights, -np.inf)
            top = shown.max(axis=1, keepdims=True)
            close.append(shown >= top - UNDECIDED * np.abs(top))
        finite = np.isfinite(shares).all(axis=1)
        shared = (close[0] & close[1]).sum(axis=1) / np.maximum(close[1].sum(axis=1), 1)
        self.agreeing += float(shared[finite].sum())
        self.undecided += int(((close[0].sum(axis=1) > 1) | (close[1].sum(axis=1) > 1)).sum())

    def _keep(
        self, hazard: str, head: Head, queries: NDArray[np.int64], badness: Float64Array, values: Float64Array
    ) -> None:
        """Keep the place of the largest badness above zero if it is the worst so far."""
        badness = np.where(np.isnan(badness), np.inf, badness)  # infinite weights over infinite sums
        place = np.unravel_index(int(np.argmax(badness)), badness.shape)
        found = float(badness[place])
        if not found > 0.0 or found <= self.badness.get(hazard, 0.0):
            return
        self.badness[hazard] = found
        key = int(place[1]) if len(place) > 1 else None
        self.worst[hazard] = Example(head.index, int(queries[place[0]]), key, float(values[place]))

    def summary(self) -> WeightSummary:
        """Return what there is to say."""
        rows = max(1, self.rows)
        ends = [*(edge - 1 for edge in self.edges[1:]), 2 * self.edges[-1] - 1]
        spans = zip(self.edges, ends, self.moved.tolist(), self.held.tolist(), strict=True)
        worst = {name: abs(example.value) for name, example in self.worst.items()}
        return WeightSummary(
            pairs=self.pairs,
            total_variation_mean=self.variation / rows,
            total_variation_max=self.largest_variation,
            top_key_agreement=self.agreeing / rows,
            top_key_undecided=self.undecided,
            negative=self.negative,
            tiny_rows=self.tiny,
            cancellation_weight=worst.get("cancellation in a weight", 1.0),
            cancellation_row=worst.get("cancellation in Z", 1.0),
            by_distance=tuple((a, b, moved / rows, held / rows) for a, b, moved, held in spans if held or moved),
            examples=self.worst,
        )
