"""Tables: polynomials piece by piece, constants and straight lines among them, from a file.

A table is what a .json file has as an object, or a .npz file as arrays:

    breakpoints    n + 1 numbers that grow; piece i stands from number i to number i + 1
    coefficients   n lists of numbers, c_0 first, or an array [n, degree + 1]: one polynomial for each piece
    local          optional, false: powers are those of x; true: those of x minus the number at which the piece begins

    {"breakpoints": [0, 0.5, 1], "coefficients": [[1, 0.828], [0.828, 1.172]]}

A table of constants has one coefficient for each piece, a table of lines two.  Decimals in .json are taken exactly, and
so are the binary numbers of .npz.  At a breakpoint the piece that begins there counts; at the last one, the last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import checked_flag, exact_numbers
from verify.errors import InvalidRequestError
from verify.families.polynomial.polynomial import nearest
from verify.files.reading import reading
from verify.ingredients.polynomial import Piece, horner, require_degree
from verify.ingredients.target import Target, decimal
from verify.ingredients.written import exact_number
from verify.inputs.reading import opened
from verify.integers import how_many
from verify.numbers.arrays import Float64Array

# Pieces of a table: no kernel has more room for one.
MOST_PIECES = 1 << 12

ENDINGS = (".json", ".npz")

_ENTRIES = ("breakpoints", "coefficients", "local")


@dataclass(frozen=True)
class Table:
    """Polynomials piece by piece.

    breakpoints: n + 1 growing numbers.  coefficients: n tuples, c_0 first.  local: whether powers are those of x minus
    the breakpoint at which a piece begins.
    """

    breakpoints: tuple[Fraction, ...]
    coefficients: tuple[tuple[Fraction, ...], ...]
    local: bool = False

    @property
    def description(self) -> str:
        """What it is, in words."""
        degree = max(map(len, self.coefficients)) - 1
        of = ("constants", "lines")[degree] if degree < 2 else f"polynomials up to degree {degree}"
        return f"a table of {of} in {how_many(len(self.coefficients), 'piece')}"

    def pieces(self, target: Target) -> tuple[Piece, ...]:
        """Return what of the table lies in a range; InvalidRequestError if it does not cover the range."""
        first, last = self.breakpoints[0], self.breakpoints[-1]
        if not first <= target.low < target.high <= last:
            raise InvalidRequestError(
                f"a table from {decimal(first)} to {decimal(last)} for the range {target.range}",
                "a table of the whole range",
                "narrow the range (--range), or add pieces",
            )
        return tuple(
            Piece(max(low, target.low), min(high, target.high), low if self.local else Fraction(0), coefficients)
            for (low, high), coefficients in zip(pairwise(self.breakpoints), self.coefficients, strict=True)
            if max(low, target.low) < min(high, target.high)
        )

    def values(self, x: Float64Array) -> Float64Array:
        """Return the table of float64 numbers that it covers, in float64 by Horner's rule."""
        starts, padded = self._arrays
        place = np.clip(np.searchsorted(starts, x, side="right") - 1, 0, len(self.coefficients) - 1)
        return horner([column[place] for column in padded.T], x - starts[place] if self.local else x)

    @cached_property
    def _arrays(self) -> tuple[Float64Array, Float64Array]:
        """Where pieces begin, [n], and their coefficients, [n, degree + 1], in float64."""
        padded = np.zeros((len(self.coefficients), max(map(len, self.coefficients))))
        for row, coefficients in zip(padded, self.coefficients, strict=True):
            row[: len(coefficients)] = [*map(nearest, coefficients)]
        return np.array([*map(nearest, self.breakpoints[:-1])]), padded


def read_table(path: str) -> Table:
    """Return the table of a .json or .npz file; InvalidRequestError says what is wrong with it."""
    entries = _from_json(path) if Path(path).suffix.lower() == ".json" else _from_npz(path)
    unused = sorted({*entries} - {*_ENTRIES})
    missing = [name for name in _ENTRIES[:2] if name not in entries]
    if unused or missing:
        wrong = f"without {missing[0]}" if missing else f"with {str(unused[0])[:40]!r}"
        raise InvalidRequestError(
            f"the table {path} {wrong}", "breakpoints, coefficients and, if at all, local", "correct it"
        )
    breakpoints = _numbers(path, "breakpoints", entries["breakpoints"])
    lists = entries["coefficients"]
    if not isinstance(lists, list) or not all(isinstance(each, list) and each for each in lists):
        raise InvalidRequestError(
            f"the table {path} with coefficients that are no lists of numbers",
            "a list of coefficients for each piece, c_0 first",
            "write [[c0, c1], [c0, c1]]",
        )
    if len(breakpoints) != len(lists) + 1 or not lists:
        raise InvalidRequestError(
            f"the table {path} of {how_many(len(breakpoints), 'breakpoint')} and {how_many(len(lists), 'piece')}",
            "one piece at least, and one breakpoint more than pieces",
            "add what is missing",
        )
    if len(lists) > MOST_PIECES:
        raise InvalidRequestError(
            f"the table {path} of {len(lists):,} pieces", f"at most {MOST_PIECES:,}", "take the part that is used"
        )
    for low, high in pairwise(breakpoints):
        if low >= high:
            raise InvalidRequestError(
                f"the table {path} with the breakpoint {decimal(high)} after {decimal(low)}",
                "breakpoints that grow",
                "order them",
            )
    coefficients = tuple(_numbers(path, "coefficients", each) for each in lists)
    require_degree(max(map(len, coefficients)) - 1)
    return Table(breakpoints, coefficients, checked_flag(f"local of {path}", entries.get("local", False)))


def _from_json(path: str) -> Mapping[str, Any]:
    """Return the entries of a .json file; decimals as Fractions."""
    with reading(path) as file:
        found = json.loads(file.read(), parse_float=_exact)
    if not isinstance(found, dict):
        raise InvalidRequestError(
            f"the table {path}, which is no JSON object", "breakpoints and coefficients by name", "correct it"
        )
    return found


def _exact(text: str) -> Fraction | str:
    """Return a decimal exactly; as text, which is refused, if it is out of all bounds."""
    found = exact_number(text)
    return text if found is None else found


def _from_npz(path: str) -> Mapping[str, Any]:
    """Return the entries of a .npz file; numbers as Fractions."""
    with opened((path,)) as archive:
        entries = {name: archive.entry(name) for name in archive.names}
    numbers = {name: _fractions(f"{name} of {path}", array) for name, array in entries.items() if name != "local"}
    return entries | numbers


def _fractions(label: str, array: NDArray[Any] | str) -> Any:
    """Return the numbers of an array as Fractions, in lists as deep as it has axes."""
    values = exact_numbers(label, np.asarray(array))
    if not np.isfinite(values).all():
        raise InvalidRequestError(f"{label} with NaN or infinity", "finite numbers only", "correct it")
    return _each(values.tolist())


def _each(values: Any) -> Any:
    return [*map(_each, values)] if isinstance(values, list) else Fraction(values)


def _numbers(path: str, name: str, values: Any) -> tuple[Fraction, ...]:
    """Return a list of numbers as Fractions."""
    given: Sequence[Any] = values if isinstance(values, list) else [values]
    for value in given:
        if type(value) not in (int, Fraction):
            raise InvalidRequestError(
                f"{str(value)[:40]!r} among the {name} of the table {path}", "finite numbers only", "correct it"
            )
    return tuple(map(Fraction, given))
