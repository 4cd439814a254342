"""What every mechanism returns: the output, the sum of weights it was divided by, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.hazards import NONE, Hazards
from verify.attention.operands import Operands
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray


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


def normalised(parts: Operands, weights: NDArray[Any]) -> AttentionOutput:
    """Return sum_t w_t v_t / sum_t w_t for weights [..., G, H/G, n_q, n_k], masked ones being zero already.

    The weights are rounded to factors first, and both sums take the same ones: a constant v comes out as it is.  Where
    there is dropout, the numerator takes those that are kept.
    """
    arithmetic = parts.arithmetic
    weights = arithmetic.as_factor(weights)
    own = kept(parts, weights)
    if arithmetic.keeps_sums:
        return divided(parts, arithmetic.product(own, parts.v), arithmetic.total(weights))
    shape = np.broadcast_shapes(own.shape[:-2], parts.v.shape[:-2])
    numerator = np.zeros((*shape, own.shape[-2], parts.v.shape[-1]), dtype=arithmetic.dtype)
    normaliser = np.zeros((*weights.shape[:-1], 1), dtype=arithmetic.dtype)
    lost = arithmetic.add_product(numerator, own, parts.v) + arithmetic.add_total(normaliser, weights)
    return divided(parts, numerator, normaliser, Hazards(lost_additions=lost))


def kept(parts: Operands, weights: NDArray[Any], keys: slice = slice(None)) -> NDArray[Any]:
    """Return weights of these keys, 0 where dropout takes them away."""
    return weights if parts.kept is None else np.where(parts.kept[..., keys], weights, weights.dtype.type(0))


def divided(
    parts: Operands, numerator: NDArray[Any], normaliser: NDArray[Any], hazards: Hazards = NONE
) -> AttentionOutput:
    """Divide numerators [..., n_q, d_v] by sums of weights [..., n_q, 1]; rows that attend to nothing become zero.

    Both may stand by state instead, [states, members, n_q, ...].  hazards: those of the state they were read from.
    """
    numerator, normaliser = (x.reshape((*parts.q.shape[:-1], x.shape[-1])) for x in (numerator, normaliser))
    hazards = replace(hazards, saturated_inputs=parts.saturated)
    share = 1.0 - parts.problem.dropout
    value, hazards = quotient(parts.arithmetic, numerator, normaliser, parts.attended_rows, hazards, share)
    return AttentionOutput(parts.unfold(value), parts.unfold(normaliser)[..., 0], hazards)


def quotient(
    arithmetic: Arithmetic,
    numerator: NDArray[Any],
    normaliser: NDArray[Any],
    attended_rows: BoolArray,
    hazards: Hazards,
    share: float = 1.0,
) -> tuple[NDArray[Any], Hazards]:
    """Return numerator / normaliser in the output's format, zero in rows that attend to nothing, and all hazards.

    share: what dropout keeps on average; the quotient is multiplied by 1 / share.
    """
    with np.errstate(all="ignore"):  # overflow and 0/0 stand in the output, where they are counted
        value = arithmetic.as_sum(numerator / normaliser)
        if share != 1.0:
            value = arithmetic.as_sum(value * arithmetic.as_sum_constant(1.0 / share))
        value = arithmetic.as_output(value)
    z = normaliser.astype(np.float64)
    nonpositive = attended_rows & ~((z > 0) & (z < np.inf))
    value = np.where(attended_rows, value, value.dtype.type(0))
    found = replace(
        hazards,
        nonpositive_rows=int(np.count_nonzero(nonpositive)),
        nonfinite_elements=int(np.count_nonzero(~np.isfinite(value.astype(np.float64)))),
    )
    return value, found
