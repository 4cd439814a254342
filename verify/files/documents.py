"""Frozen dataclasses to plain JSON values and back, checked by their annotations."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
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
    return _reader(kind)(value)


Reader = Callable[[Any], Any]


@cache
def _reader(kind: Any) -> Reader:
    """Return what reads values of a type: annotations are looked at once, not value by value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _one_of(kind, [argument for argument in arguments if argument is not types.NoneType])
    if dataclasses.is_dataclass(kind):
        return _members(kind)
    if origin is dict:
        item = _reader(arguments[1])
        return lambda value: {key: item(inner) for key, inner in _of(dict, value, kind).items()}
    if origin is tuple and arguments[-1] is Ellipsis:
        each = _reader(arguments[0])
        return lambda value: tuple([each(item) for item in _of(list, value, kind)])
    if origin is tuple:
        return _items(kind, arguments)
    if kind is float:
        return _number
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind in (str, int, bool):
        return lambda value: _of(kind, value, kind)
    return lambda value: _refuse(value, kind)


def _one_of(kind: Any, inner: list[Any]) -> Reader:
    """Return what reads one of several types, plain ones if there is more than one: no number is a truth value."""
    none = types.NoneType in typing.get_args(kind)
    readers = {each: _reader(each) for each in inner}
    only = readers[inner[0]] if len(inner) == 1 else None

    def read(value: Any) -> Any:
        if value is None and none:
            return None
        if only is not None:
            return only(value)
        if type(value) in readers:
            return readers[type(value)](value)
        names = ", ".join(getattr(each, "__name__", str(each)) for each in inner)
        raise ValueError(f"{value!r} is none of {names}")

    return read


_PLAIN = (str, int, bool, float)


def _items(kind: Any, arguments: tuple[Any, ...]) -> Reader:
    """Return what reads a tuple of certain types; plain values that are right are looked at once, all together."""
    readers = [_reader(argument) for argument in arguments]

    def read(value: Any) -> Any:
        if tuple(map(type, _of(list, value, kind))) == arguments and set(arguments) <= {*_PLAIN}:
            return tuple(value)
        return tuple([reader(item) for reader, item in zip(readers, value, strict=True)])

    return read


def _members(kind: Any) -> Reader:
    """Return what reads a dataclass; a plain value of the right type is taken as it is."""
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    known = [(name, hints[name] if hints[name] in _PLAIN else None, reader) for name, reader in readers.items()]

    def read(value: Any) -> Any:
        if type(value) is not dict or value.keys() != readers.keys():
            raise ValueError(f"not the members of {kind.__name__}")
        return kind(**{name: v if type(v := value[name]) is plain else reader(v) for name, plain, reader in known})

    return read


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    return float(value) if type(value) is int or value in ("inf", "-inf", "nan") else _refuse(value, float)


def _of(kind: type, value: Any, stated: Any) -> Any:
    return value if type(value) is kind else _refuse(value, stated)


def _refuse(value: Any, kind: Any) -> Any:
    raise ValueError(f"{value!r} is not of type {getattr(kind, '__name__', kind)}")
