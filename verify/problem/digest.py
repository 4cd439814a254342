"""A digest of everything that determines an exact answer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

_RULES = ("lengths", "positions", "bias", "alibi_slopes", "sinks", "dropout_mask")


def digest_of(problem: Any) -> str:
    """Return SHA-256 over plain values, the shapes of arrays and their bytes; rules that are not there say nothing."""
    of_q, of_k = (None, None) if problem.segments is None else problem.segments
    rules = {"segments_q": of_q, "segments_k": of_k} | {label: getattr(problem, label) for label in _RULES}
    there = {label: array for label, array in rules.items() if array is not None}
    layout: dict[str, Any] = {
        "q": problem.q.shape,
        "k": problem.k.shape,
        "v": problem.v.shape,
        "scale": None if problem.scale is None else problem.scale.hex(),
        "causal": problem.causal,
        "alignment": problem.alignment,
        "mask": None if problem.mask is None else problem.mask.shape,
    }
    layout |= {label: array.shape for label, array in there.items()}
    layout |= {} if problem.window == (None, None) else {"window": problem.window}
    numbers = {"softcap": problem.softcap, "dropout": problem.dropout}
    layout |= {label: value.hex() for label, value in numbers.items() if value}
    state = hashlib.sha256(json.dumps(layout, sort_keys=True).encode())
    for values in (problem.q, problem.k, problem.v):
        # adding zero turns -0.0 into 0.0: no formula here can tell the two apart
        state.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())
    for array in [*([] if problem.mask is None else [problem.mask]), *there.values()]:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()
