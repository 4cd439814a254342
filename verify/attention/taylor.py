"""Taylor attention (SA): the exponential cut after a power, on logits or on packed symmetric features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arithmetic import Arithmetic
from verify.attention.output import AttentionOutput, divided, normalised, operands
from verify.basis import each_degree, exponent_factorials
from verify.cost import degree_feature_count, feature_count
from verify.errors import InvalidRequestError, TooLargeError
from verify.problem import Problem

# Tokens whose features are held at once. Inside a chunk of a causal problem the polynomial is evaluated on the logits,
# so the chunk also sets which share of the pairs takes the route over features.
CHUNK = 32

# What the packed form may hold in state, coefficients and one chunk's features.
MEMORY_LIMIT = 512 * 2**20


def scores(problem: Problem, arithmetic: Arithmetic, order: int) -> AttentionOutput:
    """Return sum_t P(s_t) v_t / sum_t P(s_t), P(s) = sum over p <= order of s^p / p!, every step in the arithmetic.

    SA (9) evaluated on the logits s_t = scale q.k_t, by Horner's rule.
    """
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        weights = truncated_exponential((parts.q @ parts.k.mT) * parts.scale, order)
        if parts.attended is not None:
            weights = np.where(parts.attended, weights, arithmetic.dtype.type(0))
        return normalised(parts, weights)


def truncated_exponential(logits: NDArray[Any], order: int) -> NDArray[Any]:
    """Return sum over p <= order of s^p / p!, by Horner's rule 1 + s (1 + s/2 (1 + s/3 (...))), in the dtype of s."""
    total = np.ones_like(logits)
    for p in range(order, 0, -1):
        total *= logits
        total /= logits.dtype.type(p)
        total += logits.dtype.type(1)
    return total


def packed(
    problem: Problem,
    arithmetic: Arithmetic,
    order: int,
    *,
    chunk: int = CHUNK,
    memory_limit: int = MEMORY_LIMIT,
) -> AttentionOutput:
    """Return Taylor attention over the symmetric features of SA (8)-(11), every step in the arithmetic.

    S_p = sum_t Phi_p(k_t) [v_t | 1]^T;  [numerator | Z] = sum over p of (C_p / p! * Phi_p(scale q))^T S_p.
    Queries and keys go by in chunks.  In a causal problem the chunk's own pairs are taken by their logits (Horner)
    under the mask, and the tokens before it through the state.

    Raises InvalidRequestError for a mask or a causal alignment that a running state cannot serve; TooLargeError before
    allocating if more than memory_limit bytes would be held.
    """
    if problem.mask is not None or (problem.causal and problem.queries != problem.keys):
        raise InvalidRequestError(
            f"{problem.name} with a mask or a shifted causal alignment for the packed form",
            "no mask, and n_q = n_k if causal",
            "use the form scores",
        )
    _check_memory(problem, arithmetic, order, chunk, memory_limit)
    parts = operands(problem, arithmetic)
    shared = np.broadcast_shapes(parts.q.shape[:-2], parts.k.shape[:-2])
    k, v = (np.broadcast_to(array, (*shared, *array.shape[-2:])) for array in (parts.k, parts.v))
    ones = arithmetic.taken(np.ones((problem.keys, 1)))
    sums = np.empty((*shared, problem.queries, problem.value_size + 1), dtype=arithmetic.dtype)
    coefficients = _coefficients(problem.head_size, order, arithmetic)
    with np.errstate(all="ignore"):
        q = parts.q * parts.scale
        for head in np.ndindex(*shared):
            values = np.hstack([v[head], ones])
            _packed_head(q[head], k[head], values, coefficients, problem.causal, chunk, sums[head])
        return divided(parts, sums[..., :-1], sums[..., -1:])


def _packed_head(
    q: NDArray[Any],
    k: NDArray[Any],
    values: NDArray[Any],
    coefficients: list[NDArray[Any]],
    causal: bool,
    chunk: int,
    out: NDArray[Any],
) -> None:
    """Write [numerator | Z] of one head to out [n_q, d_v + 1]; q is scaled, values is [v | 1]."""
    order = len(coefficients) - 1
    state = [np.zeros((len(c), values.shape[-1]), dtype=q.dtype) for c in coefficients]

    def read(queries: NDArray[Any]) -> NDArray[Any]:
        features = each_degree(np.ascontiguousarray(queries.T), order)
        total = np.zeros((len(queries), values.shape[-1]), dtype=q.dtype)
        for phi, coefficient, block in zip(features, coefficients, state, strict=True):
            total += (phi * coefficient[:, None]).T @ block
        return total

    def update(tokens: slice) -> None:
        features = each_degree(np.ascontiguousarray(k[tokens].T), order)
        for phi, block in zip(features, state, strict=True):
            block += phi @ values[tokens]

    if causal:
        for first in range(0, len(q), chunk):
            rows = slice(first, min(first + chunk, len(q)))
            inside = np.tril(truncated_exponential(q[rows] @ k[rows].T, order))
            out[rows] = inside @ values[rows]
            if first:
                out[rows] += read(q[rows])
            update(rows)
        return
    for first in range(0, len(k), chunk):
        update(slice(first, min(first + chunk, len(k))))
    for first in range(0, len(q), chunk):
        rows = slice(first, min(first + chunk, len(q)))
        out[rows] = read(q[rows])


def _coefficients(head_size: int, order: int, arithmetic: Arithmetic) -> list[NDArray[Any]]:
    """Return C_p / p! = 1 / (product of the factorials of the exponents) per monomial, SA (3) and (8).

    From exact integers, divided in float64 and rounded to the arithmetic.
    """
    factorials = exponent_factorials(head_size, order)
    return [(1.0 / products.astype(np.float64)).astype(arithmetic.dtype) for products in factorials]


def _check_memory(problem: Problem, arithmetic: Arithmetic, order: int, chunk: int, limit: int) -> None:
    features = feature_count(problem.head_size, order)
    highest = degree_feature_count(problem.head_size, order)
    tokens = min(chunk, max(problem.queries, problem.keys))
    # state and coefficients of all degrees, and of the highest degree: features, the degree below, one scaled copy
    numbers = features * (problem.value_size + 2) + 3 * highest * tokens
    needed = numbers * arithmetic.dtype.itemsize
    if needed > limit:
        raise TooLargeError(
            f"{features:,} features of order {order} at head size {problem.head_size} need {_mebibytes(needed)}",
            f"at most {_mebibytes(limit)} in {arithmetic.name}",
            "lower the order or use the form scores",
        )


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,} MiB"
