"""Log-exp attention (LE): softmax over the logarithm of a product of exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.computed import AttentionOutput, divided
from verify.attention.contract import Member
from verify.attention.emulated import check_sums
from verify.attention.operands import Operands, checked_chunk, operands
from verify.attention.running import in_turn, require_servable
from verify.attention.state import storage_format
from verify.mechanisms.logexp.state import CHUNK, LogExpSums
from verify.mechanisms.softmax.forms import softmax_of
from verify.numbers.arithmetic import Arithmetic
from verify.problem import Problem

# Numbers held at once by the [rows, n_k, d_k] sums: 2**21 float64 are 16 MiB.
_ELEMENTS_PER_BLOCK = 1 << 21


def quadratic(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
    """Return softmax(log(exp(Q) exp(K)^T / exp(c))) V, LE (1), every step in the arithmetic.

    The logarithm of the product is taken as logsumexp_i(q_i + k_ti), which neither overflows nor underflows whatever
    the range of k; c cancels and the problem's scale does not enter.
    """
    parts = operands(problem, arithmetic)
    with np.errstate(all="ignore"):
        return softmax_of(parts, _log_products(parts))


def stream(
    problem: Problem,
    arithmetic: Arithmetic,
    member: Member,
    *,
    chunk: int = CHUNK,
    storage: str | None = None,
    compensated: bool = False,
) -> AttentionOutput:
    """Return log-exp attention with a state of d_k (d_v + 1) numbers, LE (5), (6), a chunk of tokens at a time.

    In linear space around running maxima; where that would underflow, pair by pair.  v may have any sign.  Raises
    InvalidRequestError for a mask or a causal alignment that a running state cannot serve.
    """
    require_servable(problem, form="stream", instead="quadratic")
    chunk = checked_chunk(chunk, max(problem.queries, problem.keys))
    parts = operands(problem, arithmetic)
    turn = in_turn(parts)
    q, k, values = turn.q, turn.k, turn.values
    state = LogExpSums(
        arithmetic,
        len(k),
        problem.head_size,
        problem.value_size,
        storage=storage_format(storage),
        compensated=compensated,
    )
    check_sums(state.sums.values, chunk, problem, arithmetic, "take the form quadratic")
    totals = np.zeros((*q.shape[:-1], problem.value_size + 1), dtype=arithmetic.dtype)
    with np.errstate(all="ignore"):
        for first in range(0, k.shape[1], chunk):
            state.add(k[:, first : first + chunk], values[:, first : first + chunk])
        for first in range(0, problem.queries, chunk):
            rows = slice(first, first + chunk)
            if turn.own_k is not None and turn.own_values is not None:
                tokens = turn.own_k[:, rows], turn.own_values[:, rows]
                state.read_causally(q[:, :, rows], *tokens, totals[:, :, rows])
            else:
                state.read(q[:, :, rows], totals[:, :, rows])
        return divided(parts, totals[..., :-1], totals[..., -1:], state.hazards)


def linear(problem: Problem, arithmetic: Arithmetic, member: Member) -> AttentionOutput:
    """Return log-exp attention in true log space, LE (2), (5), (6), one token after another.

    H_S <- log(exp(H_S) + exp(k) v^T), H_Z <- log(exp(H_Z) + exp(k)); log S = LSE_i(q_i + H_S,i), log Z likewise; y =
    S / Z.  H_S carries a sign beside the logarithm of its magnitude, so that v may have any sign, and zero.  The sum of
    weights is that of the largest component, exp(log Z - max_i (q_i + H_Z,i)).

    Raises InvalidRequestError for a mask or a causal alignment that a running state cannot serve.
    """
    require_servable(problem, form="linear", instead="quadratic")
    parts = operands(problem, arithmetic)
    turn = in_turn(parts)
    q = turn.q
    totals = np.zeros((*q.shape[:-1], problem.value_size + 1), dtype=arithmetic.dtype)
    with np.errstate(all="ignore"):
        # of [v | 1]: logarithms of magnitudes of sums, [states, d_k, d_v + 1], and signs
        latent = np.full((len(q), problem.head_size, problem.value_size + 1), -np.inf, dtype=arithmetic.dtype)
        latent_signs = np.zeros_like(latent)

        def read(rows: int) -> None:
            sums = arithmetic.as_sum(q[:, :, rows, :, None] + latent[:, None])
            # one factor for numerator and Z: the largest exponent of Z, above all others but for rounding
            top = sums[..., -1:].max(axis=-2, keepdims=True)
            terms = arithmetic.as_sum(np.exp(arithmetic.as_sum(sums - top))) * latent_signs[:, None]
            totals[:, :, rows] = arithmetic.total(terms.swapaxes(-1, -2))[..., 0]

        def take(k: NDArray[Any], values: NDArray[Any]) -> None:
            nonlocal latent, latent_signs
            logs = arithmetic.as_sum(np.log(np.abs(values)))
            added = arithmetic.as_sum(k[:, :, None] + logs[:, None, :])
            signs = np.sign(values)[:, None, :]
            latent, latent_signs = _signed_log_add(latent, latent_signs, added, signs, arithmetic)

        for token in range(turn.k.shape[1]):
            take(turn.k[:, token], turn.values[:, token])
        for row in range(problem.queries if problem.keys else 0):
            if turn.own_k is not None and turn.own_values is not None:
                take(turn.own_k[:, row], turn.own_values[:, row])
            read(row)
        return divided(parts, totals[..., :-1], totals[..., -1:])


def _signed_log_add(
    one: NDArray[Any], sign: NDArray[Any], other: NDArray[Any], other_sign: NDArray[Any], arithmetic: Arithmetic
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return log|x + y| and the sign of x + y for x = sign exp(one) and y likewise; log 0 is minus infinity."""
    settle = arithmetic.as_sum
    top = np.maximum(one, other)
    shift = np.where(top == -np.inf, 0, top).astype(top.dtype)
    parts = [s * settle(np.exp(settle(x - shift))) for x, s in ((one, sign), (other, other_sign))]
    total = settle(parts[0] + parts[1])
    return settle(settle(np.log(np.abs(total))) + shift), np.sign(total)


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
