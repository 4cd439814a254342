"""Polynomials given as text, their coefficients taken exactly, and what a piece of one is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.errors import InvalidRequestError
from verify.families.polynomial.polynomial import nearest
from verify.ingredients.target import Target
from verify.ingredients.written import NUMBER, quotient
from verify.numbers.arrays import Float64Array

# No kernel spends more multiplications on one exp, by far.
MOST_DEGREE = 100

# Characters of a text: 101 coefficients of 90 digits.
_LONGEST = 10_000

_X = r"x(?: ?(?:\^|\*\*) ?(?P<{}>\d{{1,9}}))?"
_TERM = re.compile(
    rf" ?(?P<sign>[+-])? ?(?:(?P<factor>{NUMBER}(?: ?/ ?{NUMBER})?)(?: ?\*? ?(?P<x>{_X.format('exponent')}))?"
    rf"|(?P<alone>{_X.format('alone_exponent')}))(?: ?/ ?(?P<divisor>{NUMBER}))? ?",
    re.ASCII,
)


@dataclass(frozen=True)
class Piece:
    """A polynomial sum_i c_i (x - origin)^i on the numbers from low to high, coefficients c_0 first."""

    low: Fraction
    high: Fraction
    origin: Fraction
    coefficients: tuple[Fraction, ...]


@dataclass(frozen=True)
class Polynomial:
    """One polynomial sum_i c_i x^i, coefficients c_0 first, everywhere; source: who published it, if anybody did."""

    coefficients: tuple[Fraction, ...]
    source: str | None = None

    @property
    def description(self) -> str:
        """What it is, in words."""
        of = "" if self.source is None else f" of {self.source}"
        return f"the polynomial{of} of degree {len(self.coefficients) - 1}"

    def pieces(self, target: Target) -> tuple[Piece, ...]:
        """Return the polynomial on a range, in one piece."""
        return (Piece(target.low, target.high, Fraction(0), self.coefficients),)

    def values(self, x: Float64Array) -> Float64Array:
        """Return the polynomial of float64 numbers, in float64 by Horner's rule."""
        return horner([np.full_like(x, nearest(c)) for c in self.coefficients], x)


def horner(coefficients: Sequence[Float64Array], x: Float64Array) -> Float64Array:
    """Return sum_i c_i x^i in float64, for coefficients of the shape of x."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def read_polynomial(text: str) -> Polynomial:
    """Return the polynomial that a text such as 1+0.7*x+0.2*x^2 or, by its coefficients c_0 first, 1,0.7,0.2 spells.

    Terms of one power add up; x^2/2 and 1/6*x^3 are exact as well.  Raises InvalidRequestError for anything else, for
    degrees beyond MOST_DEGREE, and for division by zero.
    """
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        raise InvalidRequestError(
            f"a polynomial of {len(line):,} characters", f"at most {_LONGEST:,}", "write fewer digits, or a table"
        )
    listed = [quotient(part.strip()) for part in line.split(",")]
    if None not in listed:
        return checked_polynomial([c for c in listed if c is not None])
    terms: dict[int, Fraction] = {}
    place = 0
    while place < len(line):
        found = _TERM.match(line, place)
        if found is None or (place and not found["sign"]):
            raise _unreadable(line, place)
        factor = quotient(found["factor"] or "1")
        divisor = quotient(found["divisor"] or "1")
        if factor is None or not divisor:
            raise InvalidRequestError(f"{_shown(line)!r}, which divides by zero", "a polynomial", "correct it")
        exponent = int(found["exponent"] or found["alone_exponent"] or bool(found["x"] or found["alone"]))
        signed = -factor if found["sign"] == "-" else factor
        terms[exponent] = terms.get(exponent, Fraction(0)) + signed / divisor
        place = found.end()
    if not terms:
        raise _unreadable(line, 0)
    require_degree(max(terms))
    return checked_polynomial([terms.get(power, Fraction(0)) for power in range(max(terms) + 1)])


def checked_polynomial(coefficients: Sequence[Fraction]) -> Polynomial:
    """Return a polynomial without the zeros at its end; InvalidRequestError for too high a degree."""
    used = [place for place, c in enumerate(coefficients) if c]
    require_degree(max(used, default=0))
    return Polynomial(tuple(coefficients[: max(used, default=0) + 1]))


def require_degree(degree: int) -> None:
    """Raise InvalidRequestError for a degree that is too high."""
    if degree > MOST_DEGREE:
        raise InvalidRequestError(
            f"a polynomial of degree {degree:,}", f"at most {MOST_DEGREE}", "take a table of several pieces"
        )


def _unreadable(line: str, place: int) -> InvalidRequestError:
    where = f", which stops being a polynomial at {_shown(line[place:])!r}" if place else ""
    return InvalidRequestError(
        f"{_shown(line)!r}{where}",
        "a polynomial of x such as 1+0.7*x+0.2*x^2, coefficients such as 1,0.7,0.2, a table FILE.json or FILE.npz, or a"
        " function FILE.py:NAME or package.module:NAME",
        "correct it",
    )


def _shown(line: str) -> str:
    return line if len(line) <= 60 else f"{line[:57]}..."
