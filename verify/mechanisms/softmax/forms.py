"""Conventional attention: the baseline every other formulation is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.computed import AttentionOutput, divided, normalised
from verify.attention.computed import kept as kept_by_dropout
from verify.attention.contract import Member
from verify.attention.hazards import Hazards
from verify.attention.operands import Operands, checked_chunk, logits_of, operands
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Problem

# Keys that the online form sees at once.
ONLINE_KEYS = 128


def softmax(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
    """Return sum_t exp(s_t - max s) v_t / sum_t exp(s_t - max s), s_t = scale q.k_t, every step in the arithmetic.

    Divided by the sum once at the end, which is the more accurate order (Blanchard, Higham and Higham, IMA J. Numer.
    Anal. 41(4), 2021).
    """
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        return softmax_of(parts, logits_of(problem, parts))


def softmax_of(parts: Operands, logits: NDArray[Any]) -> AttentionOutput:
    """Return the attention output of logits [..., n_q, n_k], shifted by the largest attended one of each row."""
    arithmetic = parts.arithmetic
    if parts.attended is not None:
        logits = np.where(parts.attended, logits, -np.inf)
    top = _finite(logits.max(axis=-1, keepdims=True, initial=-np.inf), logits.dtype)
    return normalised(parts, arithmetic.as_sum(np.exp(arithmetic.as_sum(logits - top))))


def online(problem: Problem, arithmetic: Arithmetic, member: Member, *, keys: int = ONLINE_KEYS) -> AttentionOutput:
    """Return the same in one pass over the keys, a tile at a time, with a running maximum m.

    numerator <- exp(m - m') numerator + sum of the tile exp(s_t - m') v_t, and Z likewise (M. Milakov and N.
    Gimelshein, arXiv 1805.02867, algorithm 3; T. Dao et al., arXiv 2205.14135).
    """
    keys = checked_chunk(keys, problem.keys)
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        lead = np.broadcast_shapes(parts.q.shape[:-1], (*parts.k.shape[:-2], 1))
        top = np.full((*lead, 1), -np.inf, dtype=arithmetic.dtype)
        numerator = np.zeros((*lead, problem.value_size), dtype=arithmetic.dtype)
        normaliser = np.zeros((*lead, 1), dtype=arithmetic.dtype)
        lost = 0
        for first in range(0, parts.v.shape[-2], keys):
            tile = slice(first, first + keys)
            logits = logits_of(problem, parts, tile)
            if parts.attended is not None:
                logits = np.where(parts.attended[..., tile], logits, -np.inf)
            higher = np.maximum(top, logits.max(axis=-1, keepdims=True, initial=-np.inf))
            kept = arithmetic.as_sum(np.exp(arithmetic.as_sum(top - _finite(higher, higher.dtype))))
            weights = arithmetic.as_sum(np.exp(arithmetic.as_sum(logits - _finite(higher, higher.dtype))))
            weights = arithmetic.as_factor(weights)
            numerator = arithmetic.as_sum(numerator * kept)
            normaliser = arithmetic.as_sum(normaliser * kept)
            lost += arithmetic.add_product(numerator, kept_by_dropout(parts, weights, tile), parts.v[..., tile, :])
            lost += arithmetic.add_total(normaliser, weights)
            top = higher
        return divided(parts, numerator, normaliser, Hazards(lost_additions=lost))


def _finite(top: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the largest logits with 0 for rows that attend to nothing, whose logits stay minus infinity then."""
    return np.where(top == -np.inf, 0.0, top).astype(dtype)


def shares(logits: Float64Array, attended: BoolArray) -> Float64Array:
    """Return exp(s_t) / sum exp(s_t) in float64, [rows, n_k], zero where nothing is attended."""
    shown = np.where(attended, logits, -np.inf)
    top = shown.max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp(shown - np.where(np.isfinite(top), top, 0.0))
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))
