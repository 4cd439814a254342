"""Conventional attention: the baseline every other formulation is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arithmetic import Arithmetic
from verify.attention.output import AttentionOutput, Operands, normalised, operands
from verify.problem import Problem


def softmax(problem: Problem, arithmetic: Arithmetic) -> AttentionOutput:
    """Return sum_t exp(s_t - max s) v_t / sum_t exp(s_t - max s), s_t = scale q.k_t, every step in the arithmetic.

    Divided by the sum once at the end, which is the more accurate order (Blanchard, Higham and Higham, IMA J. Numer.
    Anal. 41(4), 2021).
    """
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        return softmax_of(parts, (parts.q @ parts.k.mT) * parts.scale)


def softmax_of(parts: Operands, logits: NDArray[Any]) -> AttentionOutput:
    """Return the attention output of logits [..., n_q, n_k], shifted by the largest attended one of each row."""
    if parts.attended is not None:
        logits = np.where(parts.attended, logits, -np.inf)
    top = logits.max(axis=-1, keepdims=True, initial=-np.inf)
    return normalised(parts, np.exp(logits - np.where(top == -np.inf, 0.0, top).astype(logits.dtype)))
