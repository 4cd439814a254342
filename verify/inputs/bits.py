"""Numbers stored as their bit patterns, where a library had no type for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError, unknown
from verify.numbers.formats import FORMATS

NARROW = {name: FORMATS[name] for name in ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")}


def checked_bits(bits: str | None) -> str | None:
    """Return the name of a narrow format, or None."""
    if bits is not None and bits not in NARROW:
        raise unknown(f"bits {bits!r}", bits, NARROW)
    return bits


def numbers_in(arrays: Mapping[str, NDArray[Any]], bits: str | None) -> dict[str, NDArray[Any]]:
    """Return arrays, those of narrow integers or of nameless bytes taken as bit patterns of a format.

    Raises InvalidRequestError for such an array where no format is given, and for a format where there is none.
    """
    coded = {name for name, array in arrays.items() if _is_coded(array.dtype)}
    if bits is not None and not coded:
        kinds = ", ".join(f"{name} {array.dtype}" for name, array in arrays.items())
        raise InvalidRequestError(f"bits {bits} with {kinds}", "integers of as many bits", "leave --bits out")
    return {name: _decoded(name, array, bits) if name in coded else array for name, array in arrays.items()}


def _is_coded(kind: np.dtype[Any]) -> bool:
    return kind.itemsize <= 2 and (kind.kind in "iu" or (kind.type is np.void and kind.names is None))


def _decoded(name: str, array: NDArray[Any], bits: str | None) -> NDArray[Any]:
    width = 8 * array.dtype.itemsize
    fitting = [known for known, format_ in NARROW.items() if format_.width == width]
    if bits is None:
        remedy = f"--bits {' or '.join(fitting)} for bit patterns" if fitting else "convert it"
        remedy += "; store integers that are numbers as float32" if array.dtype.kind in "iu" else ""
        raise InvalidRequestError(
            f"{name} of type {array.dtype}, which may be bit patterns", "floating-point numbers", remedy
        )
    if bits not in fitting:
        raise InvalidRequestError(
            f"{name} of type {array.dtype} as bits of {bits}", f"{NARROW[bits].width}-bit integers", "correct --bits"
        )
    native = array.astype(array.dtype.newbyteorder("="))
    return native.view(NARROW[bits].dtype)
