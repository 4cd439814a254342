"""Reference vectors: inputs and certified outputs in one file, to test other implementations with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.files.placing import place, require_placeable
from verify.inputs.roles import RESERVED
from verify.numbers.arrays import Float64Array
from verify.numbers.balls import Balls
from verify.problem import Problem, described
from verify.truth.reference import Reference

# Digits written beyond those asked for: about what the guard bits of the enclosures hold.
MORE_DIGITS = 20

# The last digit written is worth at most this part of the radius, so that rounding to it hardly widens the ball.
_FINENESS = 128

# What numpy's writer of archives calls its own arguments.
_WRITERS_OWN = ("file", "allow_pickle")

# Parts of a problem that stand in a file as the problem holds them, under their own names.
_AS_THEY_ARE = (
    *("scale", "causal", "alignment", "mask", "lengths", "positions", "softcap", "bias", "alibi_slopes", "sinks"),
    *("dropout_mask", "q_descale", "k_descale", "v_descale"),
)

Writer = Callable[[BinaryIO, Reference], None]


def decimals(balls: Balls, digits: int) -> tuple[NDArray[np.str_], Float64Array]:
    """Return the centres in decimal and radii around those: |exact - decimal| <= radius, for every element.

    A decimal goes as far as its ball is narrow, but has at most `digits` + 20 significant digits.  A centre known
    exactly that needs no more is written in full, with radius 0.  Where there is no value: "nan" and NaN.
    """
    texts = np.full(balls.shape, "nan", dtype=object)
    radius = np.full(balls.shape, np.nan)
    for index in zip(*np.nonzero(balls.defined), strict=True):
        mantissa, exponent = balls.mantissa[index], int(balls.exponent[index])
        width = float(balls.radius_mantissa[index]), int(balls.radius_exponent[index])
        places = _places(mantissa, exponent, width if width[0] else None, digits + MORE_DIGITS)
        units, exact = _in_units(mantissa, exponent, places)
        texts[index] = _scientific(units, places)
        radius[index] = balls.radius[index]
        if not exact:  # rounded to nearest: half a unit more, and this sum rounded up
            half = math.nextafter(float(f"5e{-places - 1}"), math.inf)
            radius[index] = math.nextafter(radius[index] + half, math.inf)
    return texts.astype(np.str_), radius


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidRequestError unless `write_vectors` can write there: to be asked before the exact values are."""
    _writer(path)
    require_placeable(path, overwrite=overwrite)


def write_vectors(truth: Reference, path: Path, *, overwrite: bool = False) -> None:
    """Write a problem and its exact output to a .npz or .json file; README.md lists the members.

    The same truth gives the same bytes.  Raises InvalidRequestError for another ending, a file that exists (unless
    overwritten) or cannot be written; nothing half-written is left.
    """
    writer = _writer(path)
    place(path, lambda file: writer(file, truth), overwrite=overwrite)


def _writer(path: Path) -> Writer:
    if path.suffix.lower() not in _WRITERS:
        raise InvalidRequestError(f"file {str(path)!r} to write", "an ending .npz or .json", "name it so")
    return _WRITERS[path.suffix.lower()]


def _members(truth: Reference) -> dict[str, Any]:
    """Return what a file holds, by name; a parameter whose name is another member's is told by `member` alone."""
    problem = truth.problem
    of_q, of_k = (None, None) if problem.segments is None else problem.segments
    decimal, radius = decimals(truth.balls, truth.asked)
    named = {"mechanism": truth.member.of, "member": truth.member.name}
    others = {
        "digits": truth.digits,
        "digits_asked": truth.asked,
        "input": problem.name,
        "problem": described(problem),
        "digest": problem.digest,
        "layout": "bhsd",
        **{part: getattr(problem, part) for part in _AS_THEY_ARE},
        "window": _window(problem),
        "q_segment_ids": of_q,
        "kv_segment_ids": of_k,
        "dropout": problem.dropout or None,
        **{label: _as_given(problem, label) for label in "qkv"},
        "value": truth.value,
        "decimal": decimal,
        "radius": radius,
        "essentially_zero": truth.absolute,
        "normaliser_sign": truth.normaliser_sign,
    }
    taken = {*named, *others, *_WRITERS_OWN, *RESERVED}
    return named | {name: value for name, value in truth.member.parameters if name not in taken} | others


def _as_given(problem: Problem, label: str) -> Float64Array:
    """Return q, k or v before it was multiplied by its factors, which float64 divides out exactly; 0 where one is 0."""
    values: Float64Array = getattr(problem, label)
    factors = getattr(problem, f"{label}_descale")
    if factors is None:
        return values
    spread = np.broadcast_to(factors[..., None, None], values.shape)
    given: Float64Array = np.divide(values, spread, out=np.zeros(values.shape), where=spread != 0)
    return given


def _window(problem: Problem) -> NDArray[np.int64] | None:
    """Return (left, right), -1 for no limit."""
    if problem.window == (None, None):
        return None
    return np.array([-1 if end is None else end for end in problem.window], dtype=np.int64)


def _write_npz(file: BinaryIO, truth: Reference) -> None:
    members: dict[str, Any] = {name: member for name, member in _members(truth).items() if member is not None}
    members["problem"] = json.dumps(members["problem"], allow_nan=False)
    np.savez_compressed(file, **members)


def _write_json(file: BinaryIO, truth: Reference) -> None:
    """Write one document; arrays are nested lists, infinity is "inf", and what is no number or not there is null."""
    for position, (name, member) in enumerate(_members(truth).items()):
        text = json.dumps(_plain(member), allow_nan=False)
        file.write(f"{',' if position else '{'}\n {json.dumps(name)}: {text}".encode())
    file.write(b"\n}\n")


_WRITERS: dict[str, Writer] = {".npz": _write_npz, ".json": _write_json}


def _plain(member: Any) -> Any:
    if isinstance(member, np.ndarray):
        plain = member.astype(object)
        if member.dtype == np.float64:
            plain[np.isnan(member)] = None
            plain[np.isinf(member)] = [str(value) for value in member[np.isinf(member)]]
        return plain.tolist()
    return member


def _places(mantissa: int, exponent: int, width: tuple[float, int] | None, most: int) -> int:
    """Return how many decimal places to write, negative if not even all digits before the point.

    With 2**(b - 1) <= |c| < 2**b for b bits, and a radius of at least 2**(radius exponent - 1).
    """
    bounds = []
    if mantissa:
        leading = math.floor((mantissa.bit_length() + exponent) * math.log10(2))  # or one too large
        bounds.append(most - 1 - leading)
    if width:
        bounds.append(math.ceil(math.log10(_FINENESS) - (width[1] - 1) * math.log10(2)))
    return min(bounds, default=0)


def _in_units(mantissa: int, exponent: int, places: int) -> tuple[int, bool]:
    """Return mantissa 2**exponent in units of 10**-places, rounded to nearest, and whether that is exact."""
    numerator = mantissa * _power_of_ten(max(0, places)) << max(0, exponent)
    denominator = _power_of_ten(max(0, -places)) << max(0, -exponent)
    units, left = divmod(2 * numerator + denominator, 2 * denominator)
    return units, left == denominator


@lru_cache(maxsize=1024)
def _power_of_ten(exponent: int) -> int:
    return int(10**exponent)


def _scientific(units: int, places: int) -> str:
    """Return units 10**-places as -d.ddde-dd, without zeros at the end."""
    if not units:
        return "0"
    digits = str(abs(units))
    exponent = len(digits) - 1 - places
    digits = digits.rstrip("0")
    mantissa = digits[0] + ("." + digits[1:] if digits[1:] else "")
    return f"{'-' if units < 0 else ''}{mantissa}e{exponent}"
