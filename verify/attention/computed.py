"""What every mechanism returns: the output, the sum of weights it was divided by, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.hazards import NONE, Hazards
from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray
from verify.problem import Problem


@dataclass(frozen=True, eq=False)
class AttentionOutput:
    """A computed attention output.

    value: [..., H, n_q, d_v] in the arithmetic's format; zero in rows that attend to nothing, and whatever the division
    gave (NaN and infinity included) everywhere else.  normaliser: [..., H, n_q], the computed sum of weights.  hazards:
    what went wrong on the way.
    """

    value: NDArray[Any]
    normaliser: NDArray[Any]
    hazards: Hazards


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


def require_servable(problem: Problem, form: str, instead: str) -> None:
    """Raise InvalidRequestError for a mask or a causal alignment that a running state cannot serve."""
    if problem.mask is not None or (problem.causal and problem.queries != problem.keys):
        raise InvalidRequestError(
            f"{problem.name} with a mask or a shifted causal alignment for the form {form}",
            "no mask, and n_q = n_k if causal",
            f"use the form {instead}",
        )


def scale_of(scale: float | None, head_size: int, arithmetic: Arithmetic) -> Any:
    """Return the scale as a number of the sums' format; 1/sqrt(d_k) by two operations, as any implementation has it."""
    one = arithmetic.as_sum(np.ones((), dtype=arithmetic.dtype))
    if scale is not None:
        with np.errstate(over="ignore", under="ignore"):
            return arithmetic.as_sum(np.asarray(scale).astype(arithmetic.dtype))
    return arithmetic.as_sum(one / arithmetic.as_sum(np.sqrt(head_size * one)))


def logits_of(problem: Problem, parts: Operands, keys: slice = slice(None)) -> NDArray[Any]:
    """Return scale q.k_t for every query and these keys, [..., G, H/G, n_q, n_k], in the sums' format."""
    arithmetic = parts.arithmetic
    return arithmetic.as_sum(
        arithmetic.product(parts.q, parts.k[..., keys, :].mT) * scale_of(problem.scale, problem.head_size, arithmetic)
    )


def normalised(parts: Operands, weights: NDArray[Any]) -> AttentionOutput:
    """Return sum_t w_t v_t / sum_t w_t for weights [..., G, H/G, n_q, n_k], masked ones being zero already.

    The weights are rounded to factors first, and both sums take the same ones: a constant v comes out as it is.
    """
    weights = parts.arithmetic.as_factor(weights)
    return divided(parts, parts.arithmetic.product(weights, parts.v), parts.arithmetic.total(weights))


def divided(
    parts: Operands, numerator: NDArray[Any], normaliser: NDArray[Any], hazards: Hazards = NONE
) -> AttentionOutput:
    """Divide numerators [..., n_q, d_v] by sums of weights [..., n_q, 1]; rows that attend to nothing become zero.

    Both may stand by state instead, [states, members, n_q, ...].  hazards: those of the state they were read from.
    """
    numerator, normaliser = (x.reshape((*parts.q.shape[:-1], x.shape[-1])) for x in (numerator, normaliser))
    hazards = replace(hazards, saturated_inputs=parts.saturated)
    value, hazards = quotient(parts.arithmetic, numerator, normaliser, parts.attended_rows, hazards)
    return AttentionOutput(parts.unfold(value), parts.unfold(normaliser)[..., 0], hazards)


def quotient(
    arithmetic: Arithmetic,
    numerator: NDArray[Any],
    normaliser: NDArray[Any],
    attended_rows: BoolArray,
    hazards: Hazards,
) -> tuple[NDArray[Any], Hazards]:
    """Return numerator / normaliser in the output's format, zero in rows that attend to nothing, and all hazards."""
    with np.errstate(all="ignore"):  # overflow and 0/0 stand in the output, where they are counted
        value = arithmetic.as_output(arithmetic.as_sum(numerator / normaliser))
    z = normaliser.astype(np.float64)
    nonpositive = attended_rows & ~((z > 0) & (z < np.inf))
    value = np.where(attended_rows, value, value.dtype.type(0))
    found = replace(
        hazards,
        nonpositive_rows=int(np.count_nonzero(nonpositive)),
        nonfinite_elements=int(np.count_nonzero(~np.isfinite(value.astype(np.float64)))),
    )
    return value, found
