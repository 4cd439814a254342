"""Rows of attention weights: those of a mechanism beside those of softmax, and what can go wrong in them.

Worked out in float64 from the logits, a few rows at a time; what that leaves undecided is counted, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.measure.summary import Example, WeightSummary
from verify.measure.tallies import along_rows, by_rows
from verify.mechanisms.registry import baseline
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Head, Problem
from verify.problem.rows import rows_at_once
from verify.problem.selection import of_query

# Two weights of a row closer than this part of the larger one are not told apart: float64 errs by less than 2**-40
# up to logits of thousands.
UNDECIDED = 2.0**-36

# A sum of weights below this part of the sum of their magnitudes is tiny: three digits of a result are lost to it.
TINY = 1e-3

_HAZARDS = ("negative weight", "tiny Z", "cancellation in a weight", "cancellation in Z")


def case_of(example: Example, problem: Problem) -> Problem:
    """Return the one query of an example with the keys that it sees, or with the one key: the case by itself."""
    heads = {head.index: head for head in problem.each_head()}
    name = f"{problem.name}, head {list(example.head)}, query {example.query}"
    return of_query(problem, heads[example.head], example.query, name, example.key)


def distance_edges(problem: Problem) -> tuple[int, ...]:
    """Return where spans of distances begin, 0, 1, 2, 4, ..., as far as any key of a problem is from any query."""
    standing = [numbers for pair in problem.standing.values() for numbers in pair]
    longest = max(1, 1 + max(map(_last, standing)) + max(_last(-numbers) for numbers in standing))
    return (0, *(1 << i for i in range(longest.bit_length())))


def compare_weights(problem: Problem, member: Member) -> WeightSummary:
    """Return how the weights of a member differ from those of softmax, and their hazards."""
    tally = WeightTally.of(problem, member, range(problem.queries), distance_edges(problem))
    return tally.summary(by_rows(problem.attended_rows), distance_edges(problem))


@dataclass(frozen=True, eq=False)
class WeightTally:
    """The weights of a member on some rows beside those of softmax.

    variation, agreeing: [H, r], the total variation of each row, and how far its largest weight stands where softmax
    has its own.  moved, held: [H, r, spans], the part of the variation, and softmax weight, at keys of each span of
    distances.  The rest as in `verify.measure.summary.WeightSummary`; badness: how bad each example is.
    """

    variation: Float64Array
    agreeing: Float64Array
    moved: Float64Array
    held: Float64Array
    pairs: int
    undecided: int
    negative: int
    tiny: int
    examples: dict[str, tuple[float, Example]]

    @classmethod
    def of(cls, problem: Problem, member: Member, queries: Sequence[int], edges: Sequence[int]) -> WeightTally:
        """Take in the weights of a problem; queries: the numbers by which its rows go; edges: of spans of distances."""
        rows, softmax = _Rows(problem, queries, edges), baseline().member
        step = rows_at_once(problem, problem.keys)
        with np.errstate(all="ignore"):
            for place, head in enumerate(problem.each_head()):
                for first in range(0, problem.queries, step):
                    some = slice(first, first + step)
                    attended = head.attended(some)
                    shares, _ = softmax.mechanism.float_weights(head, some, attended, softmax)
                    found = member.mechanism.float_weights(head, some, attended, member)
                    weights, magnitudes = (np.where(attended, x, 0.0) for x in found)
                    rows.add(place, head, some, attended, np.where(attended, shares, 0.0), weights, magnitudes)
        return cls(
            variation=rows.variation,
            agreeing=rows.agreeing,
            moved=rows.moved,
            held=rows.held,
            pairs=rows.pairs,
            undecided=rows.undecided,
            negative=rows.negative,
            tiny=rows.tiny,
            examples=rows.worst,
        )

    @classmethod
    def joined(cls, parts: Sequence[WeightTally]) -> WeightTally:
        """Return the tally of several blocks, in their order."""
        worst: dict[str, tuple[float, Example]] = {}
        for part in parts:
            for name, example in part.examples.items():
                keep_worst(worst, name, *example)
        return cls(
            variation=along_rows([part.variation for part in parts]),
            agreeing=along_rows([part.agreeing for part in parts]),
            moved=along_rows([part.moved for part in parts]),
            held=along_rows([part.held for part in parts]),
            pairs=sum(part.pairs for part in parts),
            undecided=sum(part.undecided for part in parts),
            negative=sum(part.negative for part in parts),
            tiny=sum(part.tiny for part in parts),
            examples=worst,
        )

    def summary(self, rows: BoolArray, edges: Sequence[int]) -> WeightSummary:
        """Return what there is to say; rows [H, r]: those that attend to something."""
        count = max(1, int(rows.sum()))
        ends = [*(edge - 1 for edge in edges[1:]), 2 * edges[-1] - 1]
        moved, held = (array[rows].sum(axis=0) / count for array in (self.moved, self.held))
        spans = zip(edges, ends, moved.tolist(), held.tolist(), strict=True)
        worst = {name: abs(example.value) for name, (_, example) in self.examples.items()}
        variation = self.variation[rows]
        return WeightSummary(
            pairs=self.pairs,
            total_variation_mean=float(variation.sum()) / count,
            total_variation_max=float(variation.max(initial=0.0)),
            top_key_agreement=float(self.agreeing[rows].sum()) / count,
            top_key_undecided=self.undecided,
            negative=self.negative,
            tiny_rows=self.tiny,
            cancellation_weight=worst.get("cancellation in a weight", 1.0),
            cancellation_row=worst.get("cancellation in Z", 1.0),
            by_distance=tuple((a, b, m, h) for a, b, m, h in spans if h or m),
            examples={name: self.examples[name][1] for name in _HAZARDS if name in self.examples},
        )


def keep_worst(worst: dict[str, tuple[float, Example]], name: str, badness: float, example: Example) -> None:
    """Keep an example if it is worse than the one there is, or as bad and comes first by head, query and key."""
    if name in worst:
        before, other = worst[name]
        if badness < before or (badness == before and _place(other) <= _place(example)):
            return
    worst[name] = badness, example


def _place(example: Example) -> tuple[tuple[int, ...], int, int]:
    return example.head, example.query, -1 if example.key is None else example.key


def _last(places: NDArray[np.int64]) -> int:
    return int(places.max(initial=0))


class _Rows:
    """What has been seen so far of a problem's rows."""

    def __init__(self, problem: Problem, queries: Sequence[int], edges: Sequence[int]) -> None:
        self.queries, self.edges = np.asarray(queries, dtype=np.int64), list(edges)
        shape = (problem.heads, problem.queries)
        self.variation, self.agreeing = np.zeros(shape), np.zeros(shape)
        self.moved, self.held = (np.zeros((*shape, len(self.edges))) for _ in range(2))
        self.pairs = self.undecided = self.negative = self.tiny = 0
        self.worst: dict[str, tuple[float, Example]] = {}

    def add(
        self,
        place: int,
        head: Head,
        rows: slice,
        attended: NDArray[np.bool_],
        softmax: Float64Array,
        weights: Float64Array,
        magnitudes: Float64Array,
    ) -> None:
        """Take in some rows of a head; place: its number."""
        keys = slice(len(head.k))
        seen = np.flatnonzero(attended[:, keys].any(axis=1))
        if not seen.size:
            return
        attended = attended[seen]
        softmax, weights, magnitudes = (x[seen] for x in (softmax, weights, magnitudes))
        own = seen + (rows.start or 0)
        z = weights.sum(axis=1, keepdims=True)
        total = np.abs(weights).sum(axis=1, keepdims=True)
        shares = weights / z
        gap = np.abs(shares - softmax) / 2
        gap = np.where(np.isnan(gap), np.inf, gap)
        self.variation[place, own] = gap.sum(axis=1)
        # of a sink no more is said: it is no key
        attended = attended[:, keys]
        softmax, shares, gap, weights, magnitudes = (x[:, keys] for x in (softmax, shares, gap, weights, magnitudes))
        self.pairs += int(attended.sum())
        self.agreeing[place, own] = self._tops(attended, softmax, shares)
        self.negative += int((weights < 0).sum())
        tiny = ~(z > TINY * total)[:, 0]
        self.tiny += int(tiny.sum())
        cancelled = np.where(attended, magnitudes / np.abs(weights), 0.0)
        cancelled = np.where(np.isnan(cancelled), np.inf, cancelled)
        lost = np.where(np.isnan(total / np.abs(z)), np.inf, total / np.abs(z))[:, 0]
        self._keep(_HAZARDS[0], head, own, -np.where(attended, weights, 0.0) / total, weights)
        self._keep(_HAZARDS[1], head, own, np.where(tiny, lost, 0.0), z[:, 0])
        self._keep(_HAZARDS[2], head, own, np.where(cancelled > 1 + 1e-9, cancelled, 0.0), cancelled)
        self._keep(_HAZARDS[3], head, own, np.where(lost > 1 + 1e-9, lost, 0.0), lost)
        places = np.searchsorted(self.edges, head.distances(own), side="right") - 1
        spans = len(self.edges)
        flat = (places + spans * np.arange(len(own))[:, None])[attended]
        for array, shown in ((self.moved, gap), (self.held, softmax)):
            array[place, own] = np.bincount(flat, shown[attended], spans * len(own)).reshape(len(own), spans)

    def _tops(self, attended: NDArray[np.bool_], softmax: Float64Array, shares: Float64Array) -> Float64Array:
        close = []
        for weights in (softmax, shares):
            shown = np.where(attended & ~np.isnan(weights), weights, -np.inf)
            top = shown.max(axis=1, keepdims=True)
            close.append(shown >= top - UNDECIDED * np.abs(top))
        finite = np.isfinite(shares).all(axis=1)
        shared = (close[0] & close[1]).sum(axis=1) / np.maximum(close[1].sum(axis=1), 1)
        self.undecided += int(((close[0].sum(axis=1) > 1) | (close[1].sum(axis=1) > 1)).sum())
        return np.where(finite, shared, 0.0)

    def _keep(
        self, hazard: str, head: Head, rows: NDArray[np.int64], badness: Float64Array, values: Float64Array
    ) -> None:
        """Keep the place of the largest badness above zero if it is the worst so far."""
        badness = np.where(np.isnan(badness), np.inf, badness)  # infinite weights over infinite sums
        place = np.unravel_index(int(np.argmax(badness)), badness.shape)
        found = float(badness[place])
        if not found > 0.0:
            return
        key = int(place[1]) if len(place) > 1 else None
        example = Example(head.index, int(self.queries[rows[place[0]]]), key, float(values[place]))
        keep_worst(self.worst, hazard, found, example)
