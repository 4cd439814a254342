"""Single entries of input files as numbers, truth values, words and pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import exact_numbers, real_number
from verify.errors import InvalidRequestError
from verify.inputs.reading import Entry
from verify.integers import INTEGER

_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def number(name: str, entry: Entry) -> float:
    """Return one real number, exactly."""
    one = _one(name, entry)
    if isinstance(one, str):
        return real_number(name, one)
    if one.dtype.kind == "b":
        raise InvalidRequestError(f"{name} of type bool", "a number", "correct it")
    return float(exact_numbers(name, one).item())


def flag(name: str, entry: Entry) -> bool:
    """Return a truth value."""
    one = _one(name, entry)
    word = one if isinstance(one, str) else str(one.item()) if one.dtype.kind in "biu" else ""
    if word.lower() not in _TRUTH:
        shown = one if isinstance(one, str) else one.item()
        raise InvalidRequestError(f"{name} {shown!r}", "true or false", "correct it")
    return _TRUTH[word.lower()]


def word(name: str, entry: Entry) -> str:
    """Return a word."""
    one = _one(name, entry)
    if not isinstance(one, str):
        raise InvalidRequestError(f"{name} of type {one.dtype}", "a word", "correct it")
    return one


def pair(name: str, entry: Entry) -> list[Any]:
    """Return two whole numbers, from an array or from a text such as "2,0"."""
    if not isinstance(entry, str):
        if entry.shape != (2,) or entry.dtype.kind not in "iu":
            raise InvalidRequestError(
                f"{name} of type {entry.dtype} and shape {list(entry.shape)}",
                "two integers, keys before and after",
                "store (left, right), -1 for no limit",
            )
        found: list[Any] = entry.tolist()
        return found
    parts = entry.strip().strip("()[]").split(",")
    if len(parts) != 2 or not all(INTEGER.fullmatch(part) for part in parts):
        raise InvalidRequestError(f"{name} {entry!r}", "two integers, keys before and after", "write it as in 128,0")
    return [int(part) for part in parts]


def whole(name: str, entry: Entry) -> int:
    """Return one whole number."""
    value = number(name, entry)
    if not value.is_integer():
        raise InvalidRequestError(f"{name} {value:g}", "a whole number", "correct it")
    return int(value)


def array(name: str, entry: Entry) -> NDArray[Any]:
    """Return an array as it is."""
    if isinstance(entry, str):
        raise InvalidRequestError(f"{name}, which is a text", "an array", "store it as one")
    return entry


def _one(name: str, entry: Entry) -> NDArray[Any] | str:
    """Return an array that holds one number or truth value, or a text."""
    if isinstance(entry, str):
        return entry
    unfit = entry.dtype.kind not in "biufUV" or entry.dtype.type is np.void
    if entry.size != 1 or unfit or (entry.dtype.itemsize > 8 and entry.dtype.kind == "f"):
        raise InvalidRequestError(
            f"{name} of type {entry.dtype} and shape {list(entry.shape)}",
            "one number, truth value or word",
            "store it so; a number as float64",
        )
    return str(entry.item()) if entry.dtype.kind == "U" else entry
