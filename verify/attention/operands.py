"""A problem in an arithmetic: its arrays folded so that grouped heads share keys, its scale and its logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray
from verify.problem import Problem


@dataclass(frozen=True)
class Operands:
    """A problem's arrays in an arithmetic, folded so that grouped heads broadcast in matrix products.

    q: [..., G, H/G, n_q, d_k].  k, v: [..., G, 1, n_k, size].  Without leading dimensions, everything stays
    two-dimensional.  A sink counts as one more key, the last: of v, which is 0 there, of logits, and of what is
    attended, but not of k.
    """

    problem: Problem

    q: NDArray[Any]
    k: NDArray[Any]
    v: NDArray[Any]
    arithmetic: Arithmetic

    @property
    def saturated(self) -> int:
        """How many inputs the arithmetic holds as its largest number although they are larger."""
        largest, count = self.arithmetic.inputs.largest, 0
        for exact, held in ((self.problem.q, self.q), (self.problem.k, self.k), (self.problem.v, self.v)):
            if max(exact.max(initial=0.0), -exact.min(initial=0.0)) > largest:
                finite = np.isfinite(held.astype(np.float64)).reshape(exact.shape)
                count += int(np.count_nonzero((np.abs(exact) > largest) & finite))
        return count

    @cached_property
    def attended(self) -> BoolArray | None:
        """Which queries see which keys, [..., G, H/G, n_q, n_k]; None where all do.  Quadratic: not for states."""
        attended = self.problem.attended
        return None if attended is None else self.with_sink(self.fold(attended), True)

    @cached_property
    def kept(self) -> BoolArray | None:
        """Which weights dropout keeps, [..., G, H/G, n_q, n_k]; None where there is none."""
        kept = self.problem.dropout_mask
        if kept is None:
            return None
        return self.with_sink(self.fold(np.broadcast_to(kept, (*self.problem.q.shape[:-1], self.problem.keys))), True)

    def with_sink(self, pairs: NDArray[Any], value: Any) -> NDArray[Any]:
        """Return an array over pairs with a column for the sink, if there is one: a value, or one for each row."""
        if self.problem.sinks is None:
            return pairs
        column = np.broadcast_to(np.asarray(value, dtype=pairs.dtype), (*pairs.shape[:-1], 1))
        return np.concatenate([pairs, column], axis=-1)

    def per_head(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array [..., H] as [..., G, H/G, 1, 1]."""
        return array.reshape((*self.q.shape[:-2], 1, 1))

    @property
    def attended_rows(self) -> BoolArray:
        """Which queries see anything, [..., G, H/G, n_q, 1]."""
        return self.fold(self.problem.attended_rows[..., None])

    def fold(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array [..., H, n_q, x] as [..., G, H/G, n_q, x]."""
        return array if self.q.ndim == 2 else array.reshape((*self.q.shape[:-2], *array.shape[-2:]))

    @property
    def members(self) -> int:
        """How many queries of a token share a state."""
        return self.q.shape[-3] if self.q.ndim > 2 else 1

    def by_state(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return q [states, members, n_q, d_k], k [states, n_k, d_k] and v [states, n_k, d_v]."""
        states = prod(self.k.shape[:-2])
        k, v = (array.reshape((states, *array.shape[-2:])) for array in (self.k, self.v))
        return self.q.reshape((states, self.members, *self.q.shape[-2:])), k, v

    def unfold(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return an array [..., G, H/G, n_q, x] as [..., H, n_q, x]."""
        return rows.reshape((*self.problem.output_shape[:-1], rows.shape[-1]))


def operands(problem: Problem, arithmetic: Arithmetic) -> Operands:
    """Take the problem's arrays into the arithmetic and fold its heads."""
    q, k, v = (arithmetic.as_input(values) for values in (problem.q, problem.k, problem.v))
    if problem.q.ndim > 2:
        lead, groups = problem.q.shape[:-3], problem.k.shape[-3]
        q = q.reshape((*lead, groups, problem.q.shape[-3] // groups, *q.shape[-2:]))
        k, v = k[..., None, :, :], v[..., None, :, :]
    if problem.sinks is not None:
        v = np.concatenate([v, np.zeros_like(v, shape=(*v.shape[:-2], 1, v.shape[-1]))], axis=-2)
    return Operands(problem, q, k, v, arithmetic)


def checked_chunk(chunk: int, tokens: int) -> int:
    """Return a number of tokens taken at once, no more than there are; InvalidRequestError if it is none."""
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise InvalidRequestError(
            f"{chunk!r} tokens at once", "an integer of at least 1", "leave it out for the default"
        )
    return max(1, min(int(chunk), tokens))


def scale_of(scale: float | None, head_size: int, arithmetic: Arithmetic) -> Any:
    """Return the scale as a number of the sums' format; 1/sqrt(d_k) by two operations, as any implementation has it."""
    if scale is not None:
        return arithmetic.as_sum_constant(scale)
    one = arithmetic.as_sum(np.ones((), dtype=arithmetic.dtype))
    return arithmetic.as_sum(one / arithmetic.as_sum(np.sqrt(head_size * one)))


def logits_of(problem: Problem, parts: Operands, keys: slice = slice(None)) -> NDArray[Any]:
    """Return the logits of every query and these keys, [..., G, H/G, n_q, n_k], each step in the sums' format.

    s = scale q.k_t; then cap tanh(s / cap); then the bias is added, and slope times the distance taken away.  The sink
    is the key after the last one.
    """
    settled = parts.arithmetic.as_sum
    of_k = parts.k[..., keys, :].mT
    logits = settled(
        parts.arithmetic.product(parts.q, of_k) * scale_of(problem.scale, problem.head_size, parts.arithmetic)
    )
    if problem.softcap is not None:
        cap = parts.arithmetic.as_sum_constant(problem.softcap)
        logits = settled(settled(np.tanh(settled(logits / cap))) * cap)
    pairs = (*problem.q.shape[:-1], problem.keys)
    if problem.bias is not None:
        logits = settled(logits + _constants(parts, parts.fold(np.broadcast_to(problem.bias, pairs))[..., keys]))
    if problem.alibi_slopes is not None:
        apart = np.broadcast_to(problem.distances(keys), (*pairs[:-1], of_k.shape[-1]))
        slopes = parts.per_head(_constants(parts, problem.by_head(problem.alibi_slopes)))
        logits = settled(logits - settled(slopes * _constants(parts, parts.fold(apart))))
    if problem.sinks is None or len(range(problem.keys + 1)[keys]) == of_k.shape[-1]:
        return logits
    return parts.with_sink(logits, parts.per_head(_constants(parts, problem.by_head(problem.sinks))))


def _constants(parts: Operands, values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers rounded to the sums' format."""
    return parts.arithmetic.sums.rounded(values.astype(np.float64)).astype(parts.arithmetic.dtype)
