"""Frozen dataclasses with arrays to bytes and back: numbers as numpy stores them, the rest as JSON; never a pickle."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from verify.files.documents import plain, restored

_DOCUMENT = "document"
_ARRAY = "array"  # the one member of an object that stands for an array


def packed(value: Any) -> bytes:
    """Return a value of dataclasses, tuples, dictionaries by name, arrays and plain values as bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    document = json.dumps(_taken_out(plain(value), arrays), allow_nan=False)
    buffer = BytesIO()
    contents: dict[str, Any] = {_DOCUMENT: np.frombuffer(document.encode(), dtype=np.uint8), **arrays}
    np.savez(buffer, **contents)
    return buffer.getvalue()


def unpacked(kind: Any, content: bytes) -> Any:
    """Return what `packed` made of a value of that type; ValueError for anything else."""
    try:
        with np.load(BytesIO(content), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        return restored(kind, _put_back(json.loads(arrays.pop(_DOCUMENT).tobytes()), arrays))
    except (KeyError, OSError, EOFError, BadZipFile, RecursionError) as error:
        raise ValueError(f"not what was packed: {error}") from error


def _taken_out(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, dict):
        return {key: _taken_out(item, arrays) for key, item in value.items()}
    return [_taken_out(item, arrays) for item in value] if isinstance(value, list) else value


def _put_back(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _put_back(item, arrays) for key, item in value.items()}
    return [_put_back(item, arrays) for item in value] if isinstance(value, list) else value
