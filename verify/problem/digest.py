"""A digest of everything that determines an exact answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import Float64Array


def digest_of(
    layout: Mapping[str, Any],
    numbers: Mapping[str, Float64Array],
    masks: Mapping[str, NDArray[Any] | None],
    rules: Mapping[str, NDArray[Any] | None],
) -> str:
    """Return SHA-256 over plain values, the shapes of arrays and their bytes; rules that are not there say nothing."""
    shapes: dict[str, Any] = {label: array.shape for label, array in numbers.items()}
    shapes |= {label: None if array is None else array.shape for label, array in masks.items()}
    there = {label: array for label, array in rules.items() if array is not None}
    shapes |= {label: array.shape for label, array in there.items()}
    state = hashlib.sha256(json.dumps({**layout, **shapes}, sort_keys=True).encode())
    for values in numbers.values():
        # adding zero turns -0.0 into 0.0: no formula here can tell the two apart
        state.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())
    for array in (*masks.values(), *there.values()):
        if array is not None:
            state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()
