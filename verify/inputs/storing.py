"""Problems as entries of a file, which `FileInput` reads back to the same problem."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# Parts of a problem that stand in a file as the problem holds them, under their own names.
_AS_THEY_ARE = (
    *("scale", "causal", "alignment", "mask", "lengths", "positions", "softcap", "bias", "alibi_slopes", "sinks"),
    *("dropout_mask", "q_descale", "k_descale", "v_descale"),
)


def stored(problem: Problem) -> dict[str, Any]:
    """Return the entries of a problem by name, None for what it does not have; arrays are [..., H, tokens, size]."""
    of_q, of_k = (None, None) if problem.segments is None else problem.segments
    return {
        "layout": "bhsd",
        **{part: getattr(problem, part) for part in _AS_THEY_ARE},
        "window": _window(problem),
        "q_segment_ids": of_q,
        "kv_segment_ids": of_k,
        "dropout": problem.dropout or None,
        **{label: _as_given(problem, label) for label in "qkv"},
    }


def _as_given(problem: Problem, label: str) -> Float64Array:
    """Return q, k or v before it was multiplied by its factors, which float64 divides out exactly; 0 where one is 0."""
    values: Float64Array = getattr(problem, label)
    factors = getattr(problem, f"{label}_descale")
    if factors is None:
        return values
    spread = np.broadcast_to(factors[..., None, None], values.shape)
    given: Float64Array = np.divide(values, spread, out=np.zeros(values.shape), where=spread != 0)
    return given


def _window(problem: Problem) -> NDArray[np.int64] | None:
    """Return (left, right), -1 for no limit."""
    if problem.window == (None, None):
        return None
    return np.array([-1 if end is None else end for end in problem.window], dtype=np.int64)
