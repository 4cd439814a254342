"""Frozen dataclasses to plain JSON values and back, checked by their annotations."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from enum import Enum
from typing import Any


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: dataclasses as objects, tuples as lists, numbers that are not finite as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "-inf", "nan": float() reads them back
    return value


def restored(kind: Any, value: Any) -> Any:
    """Return what `plain` made of a value of that type; ValueError for anything else."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in arguments:
            return None
        inner = [argument for argument in arguments if argument is not types.NoneType]
        if len(inner) == 1:
            return restored(inner[0], value)
        if type(value) in inner:  # of plain types: no number is taken for a truth value, nor the other way round
            return restored(type(value), value)
        raise ValueError(f"{value!r} is none of {', '.join(getattr(kind, '__name__', str(kind)) for kind in inner)}")
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = {field.name for field in dataclasses.fields(kind)}
        if not isinstance(value, dict) or set(value) != names:
            raise ValueError(f"not the members of {getattr(kind, '__name__', kind)}")
        return kind(**{name: restored(hints[name], value[name]) for name in names})  # type: ignore[operator]
    if origin is dict and isinstance(value, dict):
        return {key: restored(arguments[1], item) for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(restored(each, item) for each, item in zip(kinds, value, strict=True))
    if kind is float and (type(value) in (float, int) or value in ("inf", "-inf", "nan")):
        return float(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{value!r} is not of type {getattr(kind, '__name__', kind)}")
