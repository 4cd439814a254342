"""What is known of something that stands in for a power: its error, what that suffices for, and what it does."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf, log2
from pathlib import Path

import numpy as np

from verify.ingredients.effect import Effect, Values, effects, powers, shared_error
from verify.ingredients.function import Function, is_function, loaded_function
from verify.ingredients.maximum import ErrorRange, proven_error
from verify.ingredients.measured import Measured, ends_of, measured_error
from verify.ingredients.polynomial import Polynomial, read_polynomial
from verify.ingredients.published import is_published, published
from verify.ingredients.table import ENDINGS, Table, read_table
from verify.ingredients.target import Target
from verify.isolated import isolation
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import FORMATS, named_format


@dataclass(frozen=True)
class Judgement:
    """What is known of an ingredient.

    description: what it is.  error: where p(x) / b^x - 1 lies.  measured: on which numbers that is known; None of what
    is proved for all numbers of the range.  effects: on outputs.
    """

    description: str
    target: Target
    error: ErrorRange
    measured: Measured | None
    effects: tuple[Effect, ...]

    @property
    def correct_bits(self) -> float:
        """How many leading bits are right, -log2 of the largest relative error, in tenths rounded down."""
        largest = self.error.largest.upper
        if largest == 0.0:
            return inf
        return floor(-10.0 * log2(largest)) / 10.0 if largest < 1.0 else 0.0

    @property
    def suffices(self) -> tuple[str, ...]:
        """The formats whose own rounding, half a unit in the last place or 2^-precision, is coarser than the error."""
        largest = self.error.largest.upper
        return tuple(name for name, format_ in FORMATS.items() if largest < 2.0**-format_.precision)

    @property
    def falls_short(self) -> tuple[str, ...]:
        """The other formats."""
        return tuple(name for name in FORMATS if name not in self.suffices)

    @property
    def shared(self) -> float:
        """The error that is left when a factor common to all weights is taken out; infinite if weights may be 0."""
        return shared_error(self.error)


def judge(text: str, target: Target, format_: str = "float32", how: isolation.Target | None = None) -> Judgement:
    """Return what is known of a polynomial, a table or a function in place of the powers of a base.

    text: coefficients or a polynomial of x, fa4:3 or another published one, a table FILE.json or FILE.npz, or a
    function FILE.py:NAME or package.module:NAME.  format_: the numbers that a function is called with; what is proved
    of the others needs none.  how: where a function runs, and within which limits.  Raises InvalidRequestError for what
    is none of these, for a function that does not answer, and for a table that does not cover the range.

        judge("1+0.695*x+0.227*x^2+0.078*x^3", read_target("[0:1)", read_base("2"))).error.largest.upper
    """
    text = text.strip()
    if _is_written(text) or not is_function(text):
        ingredient = read_ingredient(text)
        error = proven_error(ingredient.pieces(target), target)
        return Judgement(ingredient.description, target, error, None, tuple(effects(ingredient.values, target, error)))
    with loaded_function(text, named_format(format_), how) as function:
        measured = measured_error(function, target)
        found = tuple(effects(_of_function(function, target), target, measured.error))
        return Judgement(function.description, target, measured.error, measured, found)


def _is_written(text: str) -> bool:
    return is_published(text) or Path(text).suffix.lower() in ENDINGS


def read_ingredient(text: str) -> Polynomial | Table:
    """Return what a text is: a published polynomial, a table or a polynomial."""
    text = text.strip()
    if is_published(text):
        return published(text)
    return read_table(text) if _is_written(text) else read_polynomial(text)


def _of_function(function: Function, target: Target) -> Values:
    """Return powers with the relative errors of a function, which knows numbers of its format alone.

    Each is b^x f(x') / b^x' for the number x' of the format, in the range, that is nearest to x: what rounding x does,
    to any function alike, is not the function's doing.
    """
    first, last = ends_of(function.format, target)

    def values(x: Float64Array) -> Float64Array:
        near = np.clip(function.format.rounded(x).astype(np.float64), first, last)
        with np.errstate(all="ignore"):
            found: Float64Array = function.values(near) * powers(target, x - near)
        return found

    return values
