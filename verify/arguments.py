"""What may be asked for, checked once: typed parameters, integers, scales, flags, arrays."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import index
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.errors import InvalidRequestError, unknown
from verify.integers import how_many, integers
from verify.numbers.arrays import Float64Array

_INTEGER = re.compile(r"[+-]?\d{1,4000}", re.ASCII)


def scalar(value: Any) -> Any:
    """Return what an array without axes holds; anything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def whole(value: Any) -> int | None:
    """Return an integer of any type as Python's own, which cannot wrap; None for anything else, truth values too."""
    if isinstance(scalar(value), bool | np.bool_):
        return None
    try:
        return index(scalar(value))
    except TypeError:
        return None


def real_number(name: str, text: str) -> float:
    """Return the number that a text holds; InvalidRequestError if it holds none."""
    try:
        if "_" in text:  # Python would read 1_0 as 10
            raise ValueError
        return float(text)
    except ValueError:
        raise InvalidRequestError(f"{name} {text.strip()!r}", "a number such as 0.5", "correct it") from None


def shortest(value: float) -> str:
    """Return the shortest text that reads back as the same number, 4 rather than 4.0."""
    return repr(value).removesuffix(".0")


@dataclass(frozen=True)
class Count:
    """A number of things that the tokens must suffice for: an integer from 1 to the number of tokens."""

    default: int

    def checked(self, name: str, value: float, tokens: int | None = None) -> int:
        """Return the value as an integer; InvalidRequestError if it is none, or out of bounds."""
        expected = "an integer of at least 1 and at most the number of tokens"
        if not float(value).is_integer() or value < 1:
            raise InvalidRequestError(f"{name} {shortest(value)}", expected, f"choose another {name}")
        if tokens is not None and value > tokens:
            raise InvalidRequestError(
                f"{name} {shortest(value)} with {how_many(tokens, 'token')}",
                expected,
                f"lower {name} or take more tokens",
            )
        return int(value)

    def read(self, name: str, text: str) -> int:
        """Return the value that a text holds."""
        return self.checked(name, real_number(name, text))


@dataclass(frozen=True)
class Real:
    """A number between bounds.

    least, most: the bounds, both of them allowed; above: least itself is not.
    """

    default: float
    least: float
    most: float
    above: bool = False

    def checked(self, name: str, value: float, tokens: int | None = None) -> float:
        """Return the value; InvalidRequestError if it is out of bounds or NaN, whatever the tokens."""
        # a comparison with NaN fails, and so refuses it
        if not self.least <= value <= self.most or (self.above and value == self.least):
            start = f"above {self.least:g}, up to" if self.above else f"from {self.least:g} to"
            raise InvalidRequestError(
                f"{name} {shortest(value)}", f"a number {start} {self.most:g}", f"choose another {name}"
            )
        return value

    def read(self, name: str, text: str) -> float:
        """Return the value that a text holds."""
        return self.checked(name, real_number(name, text))


@dataclass(frozen=True)
class Whole:
    """An integer between bounds, both of them allowed, in steps; without a default it must be given, or is free."""

    default: int | None
    least: int
    most: int | None = None
    step: int = 1

    def checked(self, name: str, value: Any, tokens: int | None = None) -> int:
        """Return the value as an integer; InvalidRequestError if it is none, or out of bounds."""
        found = whole(value)
        if found is None or not self._allows(found):
            bounds = f"of at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"
            bounds += f" in steps of {self.step}" if self.step > 1 else ""
            raise InvalidRequestError(f"{name} {value!r}", f"an integer {bounds}", f"choose another {name}")
        return found

    def _allows(self, value: int) -> bool:
        most = value if self.most is None else self.most
        return self.least <= value <= most and (value - self.least) % self.step == 0

    def read(self, name: str, text: str) -> int:
        """Return the value that a text holds."""
        return self.checked(name, int(text) if _INTEGER.fullmatch(text) else text)

    def read_range(self, name: str, text: str) -> tuple[int, ...]:
        """Return the values of a range such as 0:7 or, with a step, 8:64:8, both ends included."""
        return tuple(
            self.checked(name, value)
            for value in integers(text, name, least=self.least, most=self.most, step=self.step)
        )


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    default: str | None
    among: tuple[str, ...]

    def checked(self, name: str, value: Any, tokens: int | None = None) -> str:
        """Return the value; InvalidRequestError unless it is one of the words."""
        if not isinstance(value, str) or value not in self.among:
            raise unknown(f"{name} {value!r}", value, self.among)
        return value

    def read(self, name: str, text: str) -> str:
        """Return the value that a text holds."""
        return self.checked(name, text)


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    default: bool = False

    def checked(self, name: str, value: Any, tokens: int | None = None) -> bool:
        """Return the value; InvalidRequestError unless it is a truth value."""
        return checked_flag(name, value)

    def read(self, name: str, text: str) -> bool:
        """Return the value that a text holds."""
        known = {"yes": True, "no": False}
        if text not in known:
            raise InvalidRequestError(f"{name} {text!r}", "yes or no", "choose one")
        return known[text]


Parameter = Count | Real | Whole | Choice | Flag

# What a parameter can be.
Value = int | float | str | bool


def value_text(value: Value | None) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shortest(value) if isinstance(value, float) else str(value)


def checked_values(
    declared: Mapping[str, Parameter],
    given: Iterable[tuple[str, Any]],
    kind: str,
    owner: str,
    remedy: str = "correct it, or leave it out",
    tokens: int | None = None,
) -> dict[str, Any]:
    """Return the values that were given, checked, in the order in which they are declared.

    kind: what they are, "parameter" or "option"; owner: of what, as in "in this scenario".  Raises InvalidRequestError
    for a name that is not declared or given twice, and for a value out of bounds.
    """
    chosen: dict[str, Any] = {}
    for name, value in given:
        if name not in declared:
            if declared:
                raise unknown(f"unknown {kind} {name!r}", name, declared, remedy)
            raise InvalidRequestError(f"unknown {kind} {name!r}", f"no {kind}s {owner}", remedy)
        if name in chosen:
            raise InvalidRequestError(f"{kind} {name!r} given twice", f"each {kind} once", "leave one out")
        chosen[name] = value
    return {name: declared[name].checked(name, chosen[name], tokens) for name in declared if name in chosen}


# Formats whose every value is a float64: converting them loses nothing. ml_dtypes' own types are unknown to numpy's
# type hierarchy, so they are listed.
_EXACT_IN_FLOAT64 = tuple(
    np.dtype(kind)
    for kind in (
        np.float64,
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
    )
)


def plain_array(label: str, values: ArrayLike, kind: Any = None) -> NDArray[Any]:
    """Return values as an array of numpy; InvalidRequestError for what is none, or has a mask of its own."""
    try:
        array = np.asarray(values, dtype=kind)
    except ValueError as error:
        raise InvalidRequestError(
            f"{label} of rows that differ ({error})", "an array", "give rows of one length"
        ) from None
    except (RuntimeError, TypeError) as error:  # an array of another library that does not hand out its numbers
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidRequestError(
            f"{label} of type {type(values).__name__} ({reason})",
            "an array of numpy",
            "convert it; of torch: x.detach().cpu().numpy(), or x.detach().cpu().float().numpy() of bfloat16",
        ) from None
    if isinstance(values, np.ma.MaskedArray):
        raise InvalidRequestError(f"{label} with a mask of its own", "a plain array", "give the mask as mask=")
    return array


def exact_numbers(label: str, values: ArrayLike) -> Float64Array:
    """Return real numbers, NaN and infinity among them, as float64; InvalidRequestError for what that would round."""
    array = plain_array(label, values)
    if array.dtype.kind in "iu":
        if array.size and max(abs(int(array.min())), abs(int(array.max()))) > 2**53:
            raise InvalidRequestError(
                f"{label} holds integers beyond 2**53", "numbers that float64 holds exactly", "pass floating-point data"
            )
        return array.astype(np.float64)
    if array.dtype.newbyteorder("=") in _EXACT_IN_FLOAT64:
        return array.astype(np.float64)
    raise InvalidRequestError(
        f"{label} of type {array.dtype}",
        "real numbers in float64 or a narrower floating-point format",
        "convert the array (.npy and .npz files lose bfloat16 and float8: use .safetensors or float32)",
    )


def exact_tokens(label: str, values: ArrayLike) -> Float64Array:
    """Return numbers [..., tokens, size] as read-only float64, NaN and infinity among them."""
    exact = exact_numbers(label, values)
    if exact.ndim < 2:
        raise InvalidRequestError(
            f"{label} of shape {exact.shape}", "[..., tokens, size]", "give at least two dimensions"
        )
    exact = np.ascontiguousarray(exact)
    exact.flags.writeable = False
    return exact


def exact_float64(label: str, values: ArrayLike) -> Float64Array:
    """Return finite numbers [..., tokens, size] as read-only float64; InvalidRequestError for anything else."""
    exact = exact_tokens(label, values)
    finite = np.isfinite(exact)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        count = int((~finite).sum())
        raise InvalidRequestError(
            f"{label} holds {how_many(count, 'value that is', 'values that are')} NaN or infinite, the first"
            f" {exact[where]} at index {list(where)}",
            "finite numbers only",
            "remove or mask those tokens before measuring",
        )
    return exact


def checked_scale(scale: Any) -> float | None:
    """Return a scale as a float, None as it is.

    Raises InvalidRequestError for what is no finite number that float64 holds exactly.
    """
    if scale is None:
        return None
    found = _exact_number(scale)
    if found is None or not np.isfinite(found):
        raise InvalidRequestError(
            f"scale {str(scale)[:40]}", "a finite number that float64 holds exactly", "leave it out for 1/sqrt(d_k)"
        )
    return found


def _exact_number(value: Any) -> float | None:
    """Return a real number as the float64 that it equals; None for anything else, texts and truth values too."""
    value = scalar(value)
    integer = whole(value)
    if isinstance(value, bool):
        return None
    if integer is not None or isinstance(value, numbers.Rational | Decimal | np.longdouble):
        exact: Any = value if integer is None else integer
        try:
            found = float(exact)
        except (ValueError, OverflowError):
            return None
        return found if found == exact else None
    array = np.asarray(value)
    if array.ndim or array.dtype.newbyteorder("=") not in _EXACT_IN_FLOAT64:
        return None
    return float(array.astype(np.float64))


def checked_flag(name: str, value: Any) -> bool:
    """Return a truth value: True or False, of Python or numpy, in an array without axes too, or 0 or 1.

    InvalidRequestError for anything else that Python would take for one: other numbers, texts, None, lists.
    """
    if isinstance(scalar(value), bool | np.bool_) or whole(value) in (0, 1):
        return bool(value)
    raise InvalidRequestError(f"{name} {value!r}", "True or False", "give a truth value")


def checked_number(name: str, value: Any) -> float:
    """Return a real number as a float, NaN and infinity too; InvalidRequestError for anything else."""
    found = scalar(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise InvalidRequestError(f"{name} {value!r}", "a number", "correct it")
    return float(found)


def checked_positive(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float; InvalidRequestError for anything else."""
    found = checked_number(name, value)
    if not 0.0 < found < np.inf:
        raise InvalidRequestError(f"{name} {value!r}", "a number above 0", "choose one such as 1e-3")
    return found


def checked_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a value as an integer; InvalidRequestError if it is none, or out of bounds."""
    found = whole(value)
    if found is None or found < least or (most is not None and found > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidRequestError(f"{name} {value!r}", f"an integer {bounds}", "correct it")
    return found


def checked_lead(lead: Any) -> tuple[int, ...]:
    """Return leading dimensions as a tuple of integers; InvalidRequestError for anything else."""
    if not isinstance(lead, tuple | list):
        raise InvalidRequestError(f"lead {lead!r}", "a tuple of sizes, such as (batch, heads)", "correct it")
    return tuple(checked_integer("leading dimension", size, 1) for size in lead)


def checked_size(name: str, value: Any, least: int = 1) -> int:
    """Return a size as a Python integer, which cannot wrap; InvalidRequestError if it is none, or below the least."""
    found = whole(value)
    if found is None or found < least:
        remedy = "give the size of one head" if name == "head size" else "correct it"
        raise InvalidRequestError(f"{name} {value}", f"an integer of at least {least}", remedy)
    return found


def checked_order(order: Any) -> int:
    """Return an order as a Python integer; InvalidRequestError unless it is one of at least 0."""
    found = whole(order)
    if found is None or found < 0:
        raise InvalidRequestError(
            f"order {order}", "an integer of at least 0", "give the highest power kept (terms - 1)"
        )
    return found
