"""Log-exp attention (LE): softmax over the logarithm of a product of exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arithmetic import Arithmetic
from verify.attention.output import AttentionOutput, Operands, operands
from verify.attention.softmax import softmax_of
from verify.problem import Problem

# Numbers held at once by the [rows, n_k, d_k] sums: 2**21 float64 are 16 MiB.
_ELEMENTS_PER_BLOCK = 1 << 21


def quadratic(problem: Problem, arithmetic: Arithmetic) -> AttentionOutput:
    """Return softmax(log(exp(Q) exp(K)^T / exp(c))) V, LE (1), every step in the arithmetic.

    The logarithm of the product is taken as logsumexp_i(q_i + k_ti), which neither overflows nor underflows whatever
    the range of k; c cancels and the problem's scale does not enter.
    """
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        return softmax_of(parts, _log_products(parts))


def _log_products(parts: Operands) -> NDArray[Any]:
    """Return log sum_i exp(q_i + k_ti) as [..., n_q, n_k], a few query rows at a time."""
    q, k, arithmetic = parts.q, parts.k, parts.arithmetic
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    logits = np.empty((*lead, q.shape[-2], k.shape[-2]), dtype=q.dtype)
    step = max(1, _ELEMENTS_PER_BLOCK // max(1, int(np.prod(lead)) * k.shape[-2] * k.shape[-1]))
    for first in range(0, q.shape[-2], step):
        rows = slice(first, first + step)
        sums = arithmetic.as_sum(q[..., rows, None, :] + k[..., None, :, :])
        logits[..., rows, :] = log_sum_exp(sums, arithmetic)
    return logits


def log_sum_exp(values: NDArray[Any], arithmetic: Arithmetic) -> NDArray[Any]:
    """Return log sum exp over the last axis, shifted by the largest, every step in the sums' format."""
    top = values.max(axis=-1, keepdims=True)
    sums = arithmetic.total(arithmetic.as_sum(np.exp(arithmetic.as_sum(values - top))))
    return arithmetic.as_sum(arithmetic.as_sum(np.log(sums)) + top)[..., 0]
