"""Functions that are not attention: what a rule has to reject, each computed in float64.

Memory: some rows of logits at a time, whatever the number of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from verify.attention.contract import Member
from verify.mechanisms.registry import RECOMMENDED, baseline, known, null_prediction
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format, named_format
from verify.problem import Head, Problem

# Orders of the series, keys of the window, keys of a tile whose sums are added at once, and a factor of the scale.
ORDERS = (1, 3)
WINDOW = 64
TILE = 128
FACTOR = 1.1
ACCUMULATORS = ("float8_e4m3fn", "float8_e5m2")

# Pairs of a query and a key whose logits are held at once: 32 MiB, so that keys are read few times.
PAIRS = 1 << 22

# Outputs [rows, d_v] of some rows of a head, given which keys they see, [rows, columns].
OfRows = Callable[[Head, slice, BoolArray], Float64Array]


@dataclass(frozen=True)
class Impostor:
    """A wrong function, as [..., H, n_q, d_v] of a problem; rows that see nothing are zero."""

    name: str
    words: str
    of_rows: OfRows

    def compute(self, problem: Problem) -> Float64Array:
        """Return its outputs."""
        return by_rows(problem, self.of_rows)


def impostors() -> dict[str, Impostor]:
    """Return the family, by name."""
    return {impostor.name: impostor for impostor in _family()}


def _family() -> Iterator[Impostor]:
    yield Impostor("zeros", "zero everywhere", _zeros)
    yield Impostor("mean-of-v", null_prediction().mechanism.description, partial(weighted, member=null_prediction()))
    series = known().mechanism(RECOMMENDED)
    assert series.axis is not None, "a series has orders"
    for order in ORDERS:
        member = series.member(**{series.axis: order})
        yield Impostor(
            f"{series.axis}-{order}", f"{member.name}: {series.description}", partial(weighted, member=member)
        )
    yield Impostor(f"window-{WINDOW}", f"attention to the {WINDOW} nearest keys only", _windowed)
    yield Impostor("top-key", "the value of the key with the largest logit", _top)
    yield Impostor("scale-10", "logits 10 % too large", _scaled)
    for name in ACCUMULATORS:
        words = f"sums of weights times values held in {name}, to which {TILE} keys are added at once"
        yield Impostor(f"{name}-sums", words, partial(_narrow, format_=named_format(name)))


def by_rows(problem: Problem, of_rows: OfRows) -> Float64Array:
    """Return outputs worked out some rows of a head at a time."""
    found = np.zeros(problem.output_shape)
    step = max(1, PAIRS // max(1, problem.keys))
    for head in problem.each_head():
        for first in range(0, problem.queries, step):
            rows = slice(first, min(first + step, problem.queries))
            attended = head.attended(rows)
            with np.errstate(all="ignore"):
                values = of_rows(head, rows, attended)
            found[head.index][rows] = np.where(attended.any(axis=1, keepdims=True), values, 0.0)
    return found


def weighted(head: Head, rows: slice, attended: BoolArray, *, member: Member) -> Float64Array:
    """Return sum_t w_t v_t / sum_t w_t for the weights of a member."""
    weights = np.where(attended, member.mechanism.float_weights(head, rows, attended, member)[0], 0.0)
    quotient: Float64Array = (weights * head.shown(rows)) @ head.values / weights.sum(axis=1, keepdims=True)
    return quotient


def _zeros(head: Head, rows: slice, attended: BoolArray) -> Float64Array:
    return np.zeros((len(attended), head.v.shape[1]))


def _windowed(head: Head, rows: slice, attended: BoolArray) -> Float64Array:
    """Return attention to the nearest keys, of two that are as near the earlier one; sinks are no keys."""
    apart = head.attendance.places - head.attendance.positions[rows, None]
    far = np.where(attended[:, : len(head.k)], 2 * np.abs(apart) + (apart > 0), np.iinfo(np.int64).max)
    if far.shape[1] > WINDOW:
        near = far <= np.partition(far, WINDOW - 1, axis=1)[:, WINDOW - 1, None]
        attended = attended.copy()
        attended[:, : len(head.k)] &= near
    return weighted(head, rows, attended, member=baseline().member)


def _top(head: Head, rows: slice, attended: BoolArray) -> Float64Array:
    top = np.where(attended, head.logits(rows), -np.inf).argmax(axis=1)
    shown = head.shown(rows)[np.arange(len(top)), top]
    values: Float64Array = head.values[top] * shown[:, None]
    return values


def _scaled(head: Head, rows: slice, attended: BoolArray) -> Float64Array:
    other = replace(head, scale=FACTOR * head.float_scale)
    return weighted(other, rows, attended, member=baseline().member)


def _narrow(head: Head, rows: slice, attended: BoolArray, *, format_: Format) -> Float64Array:
    """Return attention whose numerators are rounded to a format whenever a tile of keys has been added.

    Weights are relative to the largest of a row, whose sum is exact.
    """
    member = baseline().member
    weights = np.where(attended, member.mechanism.float_weights(head, rows, attended, member)[0], 0.0)
    weights = weights / weights.max(axis=1, keepdims=True)
    shown = weights * head.shown(rows)
    total = np.zeros((len(weights), head.v.shape[1]), dtype=np.float32)
    for first in range(0, head.columns, TILE):
        tile = slice(first, first + TILE)
        total = format_.rounded(total + (shown[:, tile] @ head.values[tile]).astype(np.float32)).astype(np.float32)
    quotient: Float64Array = total / weights.sum(axis=1, keepdims=True)
    return quotient
