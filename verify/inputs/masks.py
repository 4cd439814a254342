"""What an entry called a mask is: which keys are seen, or numbers that are added to logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError


def role_of_mask(name: str, array: NDArray[Any], pairs: tuple[int, ...]) -> str:
    """Return "mask" for booleans and "bias" for floating-point numbers; InvalidRequestError where either may be meant.

    pairs: [..., H, n_q, n_k].  Zeros and ones alone may say what is seen, or be added to logits; other integers may be
    anything.
    """
    if array.dtype.kind == "b":
        return "mask"
    number = array.dtype.kind in "iuf" or (array.dtype.kind == "V" and array.dtype.type is not np.void)
    whole = name
    if len(pairs) > 3 and array.shape == (pairs[-4], pairs[-1]):
        whole = f"{name}[:, None, None, :]"  # [batch, n_k]
    both = f"store {whole} == 1 as booleans where 1 stands for seen; --keys bias={name} where it is added to logits"
    if number and bool(((array == 0) | (array == 1)).all()):
        raise InvalidRequestError(
            f"{name} of type {array.dtype}, all 0 and 1, which has two readings: 1 stands for seen, or is added",
            "booleans, True where a key is seen, or a bias",
            both,
        )
    if not number or array.dtype.kind in "iu":
        raise InvalidRequestError(
            f"{name} of type {array.dtype}", "booleans, True where a key is seen, or floating-point numbers", both
        )
    return "bias"
