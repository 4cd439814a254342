"""The order in which a running state takes in the keys of a problem, and what it needs a problem to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.operands import Operands
from verify.attention.sums import with_ones
from verify.errors import InvalidRequestError
from verify.numbers.arrays import BoolArray
from verify.problem import Problem


@dataclass(frozen=True)
class InTurn:
    """Queries by state, and the keys and values as each state takes them in.

    q: [states, members, n_q, d_k].  k, values: [states, n, size], what comes before the first query: all of it, if not
    causal.  own_k, own_values: [states, n_q, size], what comes with each query, before it reads; None if not causal.
    values: with a last column of ones; a key that nobody sees stands there as another one with values of 0.
    """

    q: NDArray[Any]
    k: NDArray[Any]
    values: NDArray[Any]
    own_k: NDArray[Any] | None
    own_values: NDArray[Any] | None


def in_turn(parts: Operands) -> InTurn:
    """Return the operands of a problem that a running state serves in the order in which it takes them in."""
    problem, prefixes = parts.problem, parts.problem.prefixes
    assert prefixes is not None, "a running state serves the problem"
    q, k, v = parts.by_state()
    values = with_ones(v, parts.arithmetic)
    kept, shifts = prefixes.kept, prefixes.shifts
    if shifts is None:
        return InTurn(q, *_chosen(k, values, kept), None, None)
    if prefixes.aligned:
        return InTurn(q, k[:, :0], values[:, :0], *_chosen(k, values, kept))
    first = np.arange(prefixes.before)
    before = np.broadcast_to(first, (len(k), len(first)))
    own = np.arange(problem.queries) + shifts[:, None]
    return InTurn(
        q,
        *_taken(k, values, before, kept & (np.arange(problem.keys) < shifts[:, None])),
        *_taken(k, values, own, kept),
    )


def _taken(
    k: NDArray[Any], values: NDArray[Any], places: NDArray[np.int64], kept: BoolArray
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return keys and values from places [states, n]; what is not kept, or does not exist, has values of 0."""
    if not k.shape[1]:
        shape = places.shape
        return np.zeros_like(k, shape=(*shape, k.shape[2])), np.zeros_like(values, shape=(*shape, values.shape[2]))
    there = (places >= 0) & (places < k.shape[1])
    inside = np.clip(places, 0, k.shape[1] - 1)
    states = np.arange(len(k))[:, None]
    keep = there & kept[states, inside]
    # a key that is kept somewhere stands in: no feature of it is another than of those that count
    stand_in = k[np.arange(len(k)), np.argmax(kept, axis=1)][:, None]
    return np.where(keep[..., None], k[states, inside], stand_in), np.where(keep[..., None], values[states, inside], 0)


def _chosen(k: NDArray[Any], values: NDArray[Any], kept: BoolArray) -> tuple[NDArray[Any], NDArray[Any]]:
    if kept.all():
        return k, values
    return _taken(k, values, np.broadcast_to(np.arange(k.shape[1]), kept.shape), kept)


def unservable(problem: Problem, *, form: str, instead: str) -> InvalidRequestError | None:
    """Return what is to be raised for a problem that one running state cannot serve; else None."""
    if problem.adjustments:
        return InvalidRequestError(
            f"{problem.name} with {problem.adjustments} for the form {form}",
            "a problem without it",
            f"use the form {instead}",
        )
    if problem.prefixes is not None:
        return None
    return InvalidRequestError(
        f"{problem.name}, in which queries see other keys than those up to their own, for the form {form}",
        "keys that are hidden from all queries, or from those before",
        f"use the form {instead}",
    )


def require_servable(problem: Problem, *, form: str, instead: str) -> None:
    """Raise InvalidRequestError for a problem that one running state cannot serve."""
    refusal = unservable(problem, form=form, instead=instead)
    if refusal is not None:
        raise refusal
