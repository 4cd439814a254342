"""Frozen dataclasses to plain JSON values and back, checked by their annotations."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache, lru_cache
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: dataclasses as objects, tuples as lists, numbers that are not finite as text.

    Arrays stay what they are: see `verify.files.packing`.
    """
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


def decoded(text: str) -> Any:
    """Return what a text of standard JSON says; ValueError for any other, and for one that is nested too deeply."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError(f"not JSON: {error}") from None


def _no_number(token: str) -> float:
    raise ValueError(f"{token} as a number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)

Reader = Callable[[Any], Any]

_PLAIN = (str, int, bool, float)


@cache
def _reader(kind: Any) -> Reader:
    """Return what reads values of a type: annotations are looked at once, not value by value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _one_of(kind, [argument for argument in arguments if argument is not types.NoneType])
    if dataclasses.is_dataclass(kind):
        return _members(kind)
    if origin is dict:
        return _items_by_name(kind, arguments[1])
    if origin is tuple and arguments[-1] is Ellipsis:
        return _sequence(kind, arguments[0])
    if origin is tuple:
        return _items(kind, arguments)
    if origin is np.ndarray:
        return lambda value: _of(np.ndarray, value, kind)
    if kind is float:
        return _number
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind in _PLAIN:
        return lambda value: _of(kind, value, kind)
    return lambda value: _refuse(value, kind)


def _right(kind: Any) -> frozenset[type]:
    """Return the types of which any value is one of that kind, and is taken as it is."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return frozenset().union(*map(_right, typing.get_args(kind)))
    return frozenset({kind} & {*_PLAIN, types.NoneType})


def _one_of(kind: Any, inner: list[Any]) -> Reader:
    """Return what reads one of several types, plain ones if there is more than one: no number is a truth value."""
    right = _right(kind)
    only = _reader(inner[0]) if len(inner) == 1 else None

    def read(value: Any) -> Any:
        if type(value) in right:
            return value
        if only is not None:
            return only(value)
        names = ", ".join(getattr(each, "__name__", str(each)) for each in inner)
        raise ValueError(f"{value!r} is none of {names}")

    return read


def _items_by_name(kind: Any, inner: Any) -> Reader:
    """Return what reads a dictionary."""
    right, item = _right(inner), _reader(inner)

    def read(value: Any) -> Any:
        if right.issuperset(map(type, _of(dict, value, kind).values())):
            return dict(value)
        return {key: item(each) for key, each in value.items()}

    return read


def _sequence(kind: Any, inner: Any) -> Reader:
    """Return what reads a tuple of any length."""
    right, item = _right(inner), _reader(inner)

    def read(value: Any) -> Any:
        if right.issuperset(map(type, _of(list, value, kind))):
            return tuple(value)
        return tuple(map(item, value))

    return read


def _items(kind: Any, arguments: tuple[Any, ...]) -> Reader:
    """Return what reads a tuple of certain types."""
    readers = [_reader(argument) for argument in arguments]
    right = [*arguments] if {*arguments} <= {*_PLAIN} else None

    def read(value: Any) -> Any:
        if type(value) is list and [*map(type, value)] == right:
            return tuple(value)
        value = _of(list, value, kind)
        return tuple([reader(item) for reader, item in zip(readers, value, strict=True)])

    return read


def _members(kind: Any) -> Reader:
    """Return what reads a dataclass; which of its members have to be looked at follows from the types of their values.

    The members are set all at once: the `__init__` of a frozen dataclass takes several times as long.
    """
    assert not hasattr(kind, "__post_init__"), f"{kind.__name__} would not be checked"
    hints = typing.get_type_hints(kind)
    names = tuple(field.name for field in dataclasses.fields(kind))
    readers = {name: _reader(hints[name]) for name in names}
    right = [_right(hints[name]) for name in names]

    @lru_cache(1000)
    def looked_at(*given: type) -> list[str]:
        return [name for name, fitting, own in zip(names, right, given, strict=True) if own not in fitting]

    def read(value: Any) -> Any:
        if type(value) is not dict or (*value,) != names:
            if type(value) is not dict or value.keys() != readers.keys():
                raise ValueError(f"not the members of {kind.__name__}")
            value = {name: value[name] for name in names}
        made = object.__new__(kind)
        members = vars(made)
        members |= value
        for name in looked_at(*map(type, members.values())):
            members[name] = readers[name](members[name])
        return made

    return read


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    return float(value) if type(value) is int or value in ("inf", "-inf", "nan") else _refuse(value, float)


def _of(kind: type, value: Any, stated: Any) -> Any:
    return value if type(value) is kind else _refuse(value, stated)


def _refuse(value: Any, kind: Any) -> Any:
    raise ValueError(f"{value!r} is not of type {getattr(kind, '__name__', kind)}")
