"""Mistakes that attention functions are made with: what each would answer, in float64, to compare with what was.

Most mistakes solve another problem right: without the scale, a key further, in another order of heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import log

import numpy as np

from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.errors import AttnproofError
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Head, Problem

# Chunks of keys of which functions lose the last.
_CHUNKS = (16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a mistake would answer: in words what it is, and the output, [..., H, n_q, d_v]."""

    words: str
    output: Float64Array


def answers(problem: Problem, member: Member) -> Iterator[Answer]:
    """Yield what every mistake that the problem shows would answer."""
    for words, other in other_problems(problem):
        found = _solved(other, member)
        if found is not None:
            yield Answer(words, found)
    for words, other_member in _other_members(member):
        found = _solved(problem, other_member)
        if found is not None:
            yield Answer(words, found)
    yield Answer("it answers zeros", np.zeros(problem.output_shape))
    for words, of_head in (*_BY_HEAD, *(_OF_SINKS if problem.sinks is not None else ())):
        yield Answer(words, _head_by_head(problem, member, of_head))
    yield from _mistaken(problem, member)


def scaled_answer(problem: Problem, member: Member, factor: float) -> Float64Array | None:
    """Return the answer with the scale multiplied by a factor; None where nothing serves the problem."""
    return _solved(problem.but(scale=factor * problem.float_scale), member)


def _solved(problem: Problem | None, member: Member) -> Float64Array | None:
    """Return the right answer to a problem in float64; None where nothing serves it."""
    if problem is None or member.mechanism.refusal(problem) is not None:
        return None
    for form in member.mechanism.forms:
        variant = Variant(member, form.name)
        if variant.refusal(problem) is None:
            output = variant.run(problem, "float64").value
            return np.where(problem.attended_rows[..., None], output, np.nan)  # some answer 0, some NaN
    return None


def other_problems(problem: Problem) -> Iterator[tuple[str, Problem | None]]:
    """Yield what was mistaken, and the problem that is solved instead; None for what makes none."""
    for words, change in _changes(problem):
        try:
            yield words, change()
        except AttnproofError:
            continue


def _changes(problem: Problem) -> Iterator[tuple[str, Callable[[], Problem]]]:
    scale = problem.float_scale
    for words, other in (
        ("the scale is missing", 1.0),
        ("the scale is applied twice", scale * scale),
        ("the scale is divided by, not multiplied with", 1.0 / scale if scale else 1.0),
        ("powers of 2 for powers of e", scale * log(2.0)),
        ("powers of e for powers of 2", scale / log(2.0)),
    ):
        yield words, partial(problem.but, scale=other)
    if problem.scale is not None:
        yield "the given scale is ignored", partial(problem.but, scale=None)
    yield from _changes_of_rules(problem)
    yield from _changes_of_extras(problem)
    size, keys = problem.head_size, problem.keys
    if size > 1:
        half = {"q": problem.q[..., : size // 2], "k": problem.k[..., : size // 2], "scale": scale}
        yield "half the head size is read", partial(problem.but, **half)
    heads, groups = (x.shape[-3] if problem.q.ndim > 2 else 1 for x in (problem.q, problem.k))
    if heads != groups:
        tiled = [h % groups for h in range(heads)]
        yield (
            "heads of keys are tiled, not repeated",
            lambda: problem.but(k=problem.k[..., tiled, :, :], v=problem.v[..., tiled, :, :]),
        )
    for chunk in _CHUNKS:
        left = keys - keys % chunk
        if 0 < left < keys:
            yield (
                f"keys beyond the last whole chunk of {chunk} are dropped",
                partial(_first_keys, problem, left),
            )
    if keys > 1:
        yield "the last key is not read", partial(_first_keys, problem, keys - 1)
    if keys > 1 << 16:
        yield "only the first 65,536 keys are read", partial(_first_keys, problem, 1 << 16)


def _first_keys(problem: Problem, kept: int) -> Problem:
    lengths = None if problem.lengths is None else np.minimum(problem.lengths, kept)
    pairs = {
        name: array if array is None or array.shape[-1] == 1 else array[..., :kept]
        for name, array in (("mask", problem.mask), ("bias", problem.bias))
    }
    positions = {"positions": _positions(problem), "alignment": None}
    return problem.but(k=problem.k[..., :kept, :], v=problem.v[..., :kept, :], lengths=lengths, **pairs, **positions)


def _positions(problem: Problem) -> Float64Array:
    batch = problem.q.shape[:-3]
    found = np.array([problem.standing[index][0] for index in np.ndindex(*batch)])
    return found.reshape((*batch, problem.queries))


def _changes_of_rules(problem: Problem) -> Iterator[tuple[str, Callable[[], Problem]]]:
    positions = _positions(problem)

    def moved(by: int) -> Problem:
        return problem.but(positions=np.asarray(positions + by), alignment=None)

    if problem.causal:
        yield "causal is ignored", partial(problem.but, causal=False)
        yield "causal is off by one: a query sees the next key", partial(moved, 1)
        yield "causal is off by one: a query does not see its own key", partial(moved, -1)
        apart = problem.keys - problem.queries
        if problem.segments is not None:
            other = {"positions": None, "alignment": "top-left"}
            yield "causal is aligned at the other end", partial(problem.but, **other)
        elif apart:
            yield "causal is aligned at the other end", partial(moved, apart)
    if problem.mask is not None:
        yield "the mask is inverted", partial(problem.but, mask=~problem.mask)
        yield "the mask is ignored", partial(problem.but, mask=None)
    if problem.bias is not None:
        plain = {"bias": None, "mask": None}
        yield "what is added to logits is ignored", partial(problem.but, **plain)
        whole = _whole_bias(problem)
        yield "an additive mask is read as booleans", partial(problem.but, bias=None, mask=whole != 0)
        yield "an additive mask is read as booleans, inverted", partial(problem.but, bias=None, mask=whole == 0)
        yield "what is added is scaled too", partial(problem.but, bias=problem.bias * problem.float_scale)
    if problem.lengths is not None:
        yield "keys beyond the length are read", partial(problem.but, lengths=None)
    left, right = problem.window
    if problem.window != (None, None):
        yield "the window is ignored", partial(problem.but, window=None)
        for words, change in (("wider", 1), ("narrower", -1)):
            if left is not None and left + change >= 0:
                yield f"the window is {words} by one before", partial(problem.but, window=(left + change, right))
            if right is not None and right + change >= 0:
                yield f"the window is {words} by one after", partial(problem.but, window=(left, right + change))


def _whole_bias(problem: Problem) -> Float64Array:
    """Return what is added to logits, minus infinity where the mask hides: a problem holds it as a mask."""
    assert problem.bias is not None
    return problem.bias if problem.mask is None else np.where(problem.mask, problem.bias, -np.inf)


def _changes_of_extras(problem: Problem) -> Iterator[tuple[str, Callable[[], Problem]]]:
    if problem.softcap is not None:
        yield "the soft cap is ignored", partial(problem.but, softcap=None)
        if problem.bias is None and problem.hides:
            # tanh of minus infinity: what is hidden has the logit -cap, and is seen
            yield "the soft cap comes after the mask", partial(_capped_after, problem)
    if problem.sinks is not None:
        yield "the sink is ignored", partial(problem.but, sinks=None)


def _capped_after(problem: Problem) -> Problem:
    assert problem.softcap is not None
    attended = problem.attended
    assert attended is not None
    logits = np.array([head.logits() for head in problem.each_head()]).reshape((*problem.q.shape[:-1], -1))
    wrong = np.where(attended, logits, -problem.softcap)
    return Problem(np.zeros(problem.q.shape), np.zeros(problem.k.shape), problem.v, bias=wrong, name=problem.name)


def _other_members(member: Member) -> Iterator[tuple[str, Member]]:
    axis = member.mechanism.axis
    if axis is None:
        return
    for change, words in ((-1, "lower"), (1, "higher")):
        values = dict(member.parameters) | {axis: member[axis] + change}
        try:
            yield f"{axis} {words} by one: {axis} {member[axis] + change}", member.mechanism.member(**values)
        except AttnproofError:
            continue


@dataclass(frozen=True, eq=False)
class _Weighed:
    """A head with its weights: of what is attended, 0 elsewhere, and of everything; the largest of a row may be 1.

    over_queries: each column divided by its sum.
    """

    head: Head
    attended: BoolArray
    weights: Float64Array
    everything: Float64Array
    over_queries: Float64Array

    @property
    def total(self) -> Float64Array:
        return np.asarray(self.weights.sum(axis=1, keepdims=True))

    def with_sink_value(self, value: Float64Array) -> Float64Array:
        """Return the output where the sink has a value."""
        values = self.head.values.copy()
        values[len(self.head.k) :] = value
        return self.weights @ values / self.total


_OfHead = Callable[[_Weighed], Float64Array]

_BY_HEAD: tuple[tuple[str, _OfHead], ...] = (
    ("the sum of weights is not divided by", lambda w: w.weights @ w.head.values),
    (
        "the sum is divided by the number of keys",
        lambda w: w.weights @ w.head.values / w.attended.sum(axis=1, keepdims=True),
    ),
    ("one is added to the sum of weights", lambda w: w.weights @ w.head.values / (w.total + 1.0)),
    (
        "the sum of weights counts keys that are hidden",
        lambda w: np.where(w.attended, w.everything, 0.0) @ w.head.values / w.everything.sum(axis=1, keepdims=True),
    ),
    (
        "the sum of weights is one of magnitudes",
        lambda w: w.weights @ w.head.values / np.abs(w.weights).sum(axis=1, keepdims=True),
    ),
    (
        "only the largest weight counts",
        lambda w: w.head.values[np.where(w.attended, w.weights, -np.inf).argmax(axis=1)],
    ),
    ("all keys weigh the same", lambda w: w.attended @ w.head.values / w.attended.sum(axis=1, keepdims=True)),
    (
        "weights are normalised over queries",
        lambda w: w.over_queries @ w.head.values,
    ),
)
_OF_SINKS: tuple[tuple[str, _OfHead], ...] = (
    ("the sink counts in the numerator, with ones", lambda w: w.with_sink_value(np.ones(w.head.v.shape[1]))),
    ("the sink counts in the numerator, with the first value", lambda w: w.with_sink_value(w.head.v[0])),
)


def _head_by_head(problem: Problem, member: Member, of_head: _OfHead) -> Float64Array:
    output = np.zeros(problem.output_shape)
    rows = slice(0, problem.queries)
    with np.errstate(all="ignore"):
        for head in problem.each_head():
            attended = head.attended(rows)
            seen, _ = member.mechanism.float_weights(head, rows, attended, member)
            seen = np.where(attended, seen, 0.0)
            shares = np.allclose(seen.sum(axis=1)[attended.any(axis=1)], 1.0, rtol=1e-9)
            if shares:  # exp(s - max s), as it is computed before anything is divided
                seen = seen / seen.max(axis=1, keepdims=True)
                logits = head.logits(rows)
                everything = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
                shown = np.where(attended, logits, -np.inf)
                columns = np.exp(shown - shown.max(axis=0, initial=-np.inf))
            else:
                everything, _ = member.mechanism.float_weights(head, rows, np.ones_like(attended), member)
                columns = np.where(attended, everything, 0.0)
            output[head.index] = of_head(_Weighed(head, attended, seen, everything, columns / columns.sum(axis=0)))
    return output


def _mistaken(problem: Problem, member: Member) -> Iterator[Answer]:
    """Yield what mistakes that are the mechanism's own would answer."""
    outputs: dict[str, Float64Array] = {}
    rows = slice(0, problem.queries)
    with np.errstate(all="ignore"):
        for head in problem.each_head():
            attended = head.attended(rows)
            for words, weights in member.mechanism.mistaken_weights(head, rows, member):
                seen = np.where(attended[:, : weights.shape[1]], weights, 0.0)
                output = outputs.setdefault(words, np.zeros(problem.output_shape))
                output[head.index] = seen @ head.v / seen.sum(axis=1, keepdims=True)
    yield from (Answer(words, output) for words, output in outputs.items())
