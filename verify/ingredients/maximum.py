"""Proven extremes of the relative error p(x) / b^x - 1 of polynomials on ranges, by balls and bisection.

With r = ln b, g = p b^-x - 1 has the derivatives g' = q_1 b^-x and g'' = q_2 b^-x, where q_1 = p' - r p and
q_2 = q_1' - r q_1.  On a cell c - h <= x <= c + h, X being the ball of it, Taylor's formula encloses g:

    g(x) in g(c) +- (|g'(c)| h + |g''(X)| h^2 / 2),

and where g' has one sign on the cell, so do its two ends.  Cells that may hold more than what some point is sure to
attain are bisected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flint import arb, arb_poly

from verify.bounds.logits import above
from verify.errors import CertificationError
from verify.families.polynomial.polynomial import nearest
from verify.ingredients.polynomial import Piece
from verify.ingredients.target import Target, ball
from verify.numbers.precision import MAX_BITS, flint_precision

# Upper and lower bounds differ by at most this share of the largest error.
AGREEMENT = Fraction(1, 10**9)

_BITS = 128  # to begin with

# Cells that the range is cut into at first.
_FIRST = 32

# Cells and ends that are looked at, at most.
_MOST = 1 << 19


@dataclass(frozen=True)
class Extreme:
    """The smallest or the largest value of something on a range.

    lower, upper: between them lies the extreme.  at: where a value between them is attained, or approached if that is
    an end that does not belong to the range or, in a table, to the piece.
    """

    lower: float
    upper: float
    at: Fraction

    @property
    def value(self) -> float:
        """A number between the two: 0 if that is one, otherwise the one further from 0."""
        if self.lower <= 0.0 <= self.upper:
            return 0.0
        return self.upper if self.lower > 0.0 else self.lower

    @property
    def float_at(self) -> float:
        """Where, in float64."""
        return nearest(self.at)


@dataclass(frozen=True)
class ErrorRange:
    """Where a relative error lies: its smallest value and its largest."""

    least: Extreme
    most: Extreme

    @property
    def largest(self) -> Extreme:
        """The largest magnitude."""
        below = Extreme(-self.least.upper, -self.least.lower, self.least.at)
        at = below.at if below.lower > self.most.lower else self.most.at
        return Extreme(max(0.0, below.lower, self.most.lower), max(0.0, below.upper, self.most.upper), at)

    @property
    def positive(self) -> bool:
        """Whether what stands in for the power is sure to be positive everywhere."""
        return self.least.lower > -1.0

    @property
    def nonpositive(self) -> bool:
        """Whether it is sure to be zero or negative somewhere."""
        return self.least.upper <= -1.0


def proven_error(pieces: Sequence[Piece], target: Target) -> ErrorRange:
    """Return the extremes of p(x) / b^x - 1, to AGREEMENT of the larger of the two.

    pieces: polynomials that together cover the range, at both of whose ends the values are included.  Raises
    CertificationError where no precision up to the cap, or no number of cells up to it, is enough.
    """
    bits = _BITS
    while bits <= MAX_BITS:
        with flint_precision(bits):
            found = _Search(pieces, target).extremes()
        if found is not None:
            return found
        bits *= 2
    raise CertificationError(f"the relative error on {target.range} needs more than {MAX_BITS} bits")


@dataclass(frozen=True)
class _Cell:
    """Where something is to be found: a piece, the middle of a part of it, and half its width."""

    piece: int
    centre: Fraction
    half: Fraction

    def halves(self) -> Iterator[_Cell]:
        quarter = self.half / 2
        yield _Cell(self.piece, self.centre - quarter, quarter)
        yield _Cell(self.piece, self.centre + quarter, quarter)


class _Search:
    """One search at one precision; what it has seen of the two extremes so far."""

    def __init__(self, pieces: Sequence[Piece], target: Target) -> None:
        self.pieces, self.rate = pieces, target.rate()
        self.polynomials = [self._derivatives(piece) for piece in pieces]
        # what some point attains, what nothing exceeds among all that is not looked at any more, and the point
        self.most, self.top, self.most_at = arb.neg_inf(), arb.neg_inf(), pieces[0].low
        self.least, self.bottom, self.least_at = arb.pos_inf(), arb.pos_inf(), pieces[0].low
        self.seen = 0

    def _derivatives(self, piece: Piece) -> tuple[arb_poly, arb_poly, arb_poly]:
        """Return p, q_1 and q_2, in powers of x - origin."""
        p = arb_poly([*map(ball, piece.coefficients)])
        first = p.derivative() - self.rate * p
        return p, first, first.derivative() - self.rate * first

    def extremes(self) -> ErrorRange | None:
        """Return the extremes, or None if the precision is not enough."""
        cells = [*self._first()]
        for place, piece in enumerate(self.pieces):  # where p is 0, if it is 0 at an end, is then told exactly
            for end in (piece.low, piece.high):
                self._attained(place, end)
        while cells:
            enclosed = [self._enclosed(cell) for cell in cells]
            slack = ball(AGREEMENT) * self._scale()
            left: list[_Cell] = []
            for cell, (value, low, high, rising) in zip(cells, enclosed, strict=True):
                if high <= self.most + slack and low >= self.least - slack:
                    self._closed(low, high)
                elif not value.rad() * 8 < slack and not value.is_exact():
                    return None
                elif rising:
                    for end in (cell.centre - cell.half, cell.centre + cell.half):
                        self._closed(*self._attained(cell.piece, end))
                else:
                    left.extend(cell.halves())
            cells = left
            if self.seen + len(cells) > _MOST:
                raise CertificationError(f"the relative error needs more than {_MOST:,} cells; take a narrower range")
        slack = ball(AGREEMENT) * self._scale()
        if not (self.top <= self.most + slack and self.bottom >= self.least - slack):
            return None  # ends of cells were not known well enough
        return ErrorRange(
            Extreme(_below(self.bottom), above(self.least), self.least_at),
            Extreme(_below(self.most), above(self.top), self.most_at),
        )

    def _first(self) -> Iterator[_Cell]:
        count = -(-_FIRST // len(self.pieces))
        for place, piece in enumerate(self.pieces):
            half = (piece.high - piece.low) / (2 * count)
            yield from (_Cell(place, piece.low + (2 * i + 1) * half, half) for i in range(count))

    def _scale(self) -> arb:
        """Return the largest magnitude that some point is sure to attain."""
        return self.most.max(-self.least).max(arb(0))

    def _error(self, place: int, x: Fraction) -> tuple[arb, arb, arb]:
        """Return x - origin, b^-x and g(x)."""
        self.seen += 1
        u, decay = ball(x - self.pieces[place].origin), (-self.rate * ball(x)).exp()
        return u, decay, self.polynomials[place][0](u) * decay - 1

    def _attained(self, place: int, x: Fraction) -> tuple[arb, arb]:
        """Return numbers below and above g(x), and remember it."""
        value = self._error(place, x)[2]
        self._remember(value, x)
        return value.lower(), value.upper()

    def _remember(self, value: arb, x: Fraction) -> None:
        if value.lower() > self.most:
            self.most, self.most_at = value.lower(), x
        if value.upper() < self.least:
            self.least, self.least_at = value.upper(), x

    def _closed(self, low: arb, high: arb) -> None:
        self.bottom, self.top = self.bottom.min(low), self.top.max(high)

    def _enclosed(self, cell: _Cell) -> tuple[arb, arb, arb, bool]:
        """Return g in the middle of a cell, numbers below and above all of g on it, and whether g' has one sign."""
        u, decay, value = self._error(cell.piece, cell.centre)
        self._remember(value, cell.centre)
        _, first, second = self.polynomials[cell.piece]
        half = ball(cell.half)
        around = arb(0, half)
        slope = first(u) * decay
        bend = abs(second(u + around) * (-self.rate * (ball(cell.centre) + around)).exp())
        reach = abs(slope) * half + bend * half * half / 2
        return value, (value - reach).lower(), (value + reach).upper(), abs(slope) > bend * half


def _below(ball_: arb) -> float:
    """Return a float64 that no number of the ball is below."""
    return -above(-ball_)
