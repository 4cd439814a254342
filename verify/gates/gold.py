"""Exact attention over many keys: float64, with a bound on how far off it is, in the time of a few passes over them."""

from __future__ import annotations

from functools import partial

import numpy as np

from verify.bounds.unit import accumulated
from verify.gates.impostors import by_rows, weighted
from verify.mechanisms.registry import baseline
from verify.numbers.arithmetic import LIBRARY
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Head, Problem

_UNIT = 2.0**-53

# exp of less than that is below float64's normal numbers, or next to it: such weights count absolutely.
_LOWEST = -708.0


def float64_attention(problem: Problem) -> tuple[Float64Array, Float64Array]:
    """Return conventional attention in float64 and a bound on |exact - returned|, both [..., H, n_q, d_v].

    The bound is infinite where float64 is not enough.
    """
    return by_rows(problem, partial(weighted, member=baseline().member)), by_rows(problem, _doubt)


def _doubt(head: Head, rows: slice, attended: BoolArray) -> Float64Array:
    """Return 2 G max_t |v_t| / (1 - 2 G), G = exp(D) - 1 + gamma exp(D), for weights that are off by exp(+-D).

    D: how far off a logit may be, one rounding of its distance from the largest, and exp of the library.  gamma: what
    n + 4 roundings leave, which both sums may take.  It is the bound of `verify.bounds.outputs` with |v_t - y| and |y|
    at their largest: coarser, and worked out in one pass.
    """
    logits = np.where(attended, head.logits(rows), -np.inf)
    logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
    held = attended & (logits > _LOWEST)
    apart = np.where(held, -logits, 0.0).max(axis=1, keepdims=True)
    doubt = np.where(held, head.logit_doubt(rows), 0.0).max(axis=1, keepdims=True) + _UNIT * (apart + LIBRARY)
    off = np.expm1(doubt) + accumulated(head.columns + 4, _UNIT) * np.exp(doubt)
    largest = np.maximum(head.v.max(axis=0, initial=0.0), -head.v.min(axis=0, initial=0.0)) / (1.0 - head.dropout)
    lost = 2.0 * head.columns * (np.exp(_LOWEST) * largest + 2.0**-1074)  # weights, and products below normal numbers
    return np.where(2.0 * off < 1.0, 2.0 * off / (1.0 - 2.0 * off) * (1 + 2.0**-20) * largest + lost, np.inf)
