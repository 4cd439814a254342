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
    two-dimensional.
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
        return None if attended is None else self.fold(attended)

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
    return Operands(problem, q, k, v, arithmetic)


def checked_chunk(chunk: int, tokens: int) -> int:
    """Return a number of tokens taken at once, no more than there are; InvalidRequestError if it is none."""
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise InvalidRequestError(
            f"{chunk!r} tokens at once", "an integer of at least 1", "leave it out for the default"
        )
    return max(1, min(int(chunk), tokens))


def unservable(problem: Problem, *, form: str, instead: str) -> InvalidRequestError | None:
    """Return what is to be raised for a mask or a causal alignment that a running state cannot serve; else None."""
    if problem.mask is None and not (problem.causal and problem.queries != problem.keys):
        return None
    return InvalidRequestError(
        f"{problem.name} with a mask or a shifted causal alignment for the form {form}",
        "no mask, and n_q = n_k if causal",
        f"use the form {instead}",
    )


def require_servable(problem: Problem, *, form: str, instead: str) -> None:
    """Raise InvalidRequestError for a mask or a causal alignment that a running state cannot serve."""
    refusal = unservable(problem, form=form, instead=instead)
    if refusal is not None:
        raise refusal


def scale_of(scale: float | None, head_size: int, arithmetic: Arithmetic) -> Any:
    """Return the scale as a number of the sums' format; 1/sqrt(d_k) by two operations, as any implementation has it."""
    if scale is not None:
        return arithmetic.as_sum_constant(scale)
    one = arithmetic.as_sum(np.ones((), dtype=arithmetic.dtype))
    return arithmetic.as_sum(one / arithmetic.as_sum(np.sqrt(head_size * one)))


def logits_of(problem: Problem, parts: Operands, keys: slice = slice(None)) -> NDArray[Any]:
    """Return scale q.k_t for every query and these keys, [..., G, H/G, n_q, n_k], in the sums' format."""
    arithmetic = parts.arithmetic
    return arithmetic.as_sum(
        arithmetic.product(parts.q, parts.k[..., keys, :].mT) * scale_of(problem.scale, problem.head_size, arithmetic)
    )
