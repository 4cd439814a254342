"""What is replaced: the powers of a base whose exponents lie in a range."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import e, log2

from flint import arb, fmpq

from verify.errors import InvalidRequestError
from verify.families.polynomial.polynomial import nearest
from verify.ingredients.written import quotient
from verify.numbers.precision import flint_precision

_FLOAT_BITS = 80  # more than float64 has

# No format has numbers beyond 2**1024, or positive ones below 2**-1074.
_LARGEST_POWER = 1100

_LARGEST_BASE = Fraction(10**300)

# A range is at least this part of its ends, and of 1, wide.
_NARROWEST = 10**6

_RANGE = re.compile(r"([\[(]?)([^\[\]():]+):([^\[\]():]+)([\])]?)")


@dataclass(frozen=True)
class Target:
    """The powers base**x for x from low to high.

    base: None for e.  open_low, open_high: the end itself is not asked for.  What is proved of a polynomial holds at
    both ends all the same, by continuity; a function is not called there.
    """

    base: Fraction | None
    low: Fraction
    high: Fraction
    open_low: bool = False
    open_high: bool = False

    @property
    def base_text(self) -> str:
        """The base as it is written."""
        return "e" if self.base is None else decimal(self.base)

    @property
    def power(self) -> str:
        """The powers in words, 2^x."""
        return f"{self.base_text}^x"

    @property
    def range(self) -> str:
        """The range in words, [0, 1)."""
        ends = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{ends[0]}{decimal(self.low)}, {decimal(self.high)}{ends[1]}"

    def has(self, x: Fraction) -> bool:
        """Say whether a number belongs to the range."""
        above = self.low < x or (x == self.low and not self.open_low)
        return above and (x < self.high or (x == self.high and not self.open_high))

    @property
    def float_rate(self) -> float:
        """The natural logarithm of the base in float64."""
        with flint_precision(_FLOAT_BITS):
            return float(self.rate())

    def rate(self) -> arb:
        """Return the natural logarithm of the base at the precision there is."""
        return arb(1) if self.base is None else ball(self.base).log()


def read_target(range_: str, base: Fraction | None) -> Target:
    """Return what a text such as 0:1, or [0:1) without its last number, asks for.

    base: None for e, as `read_base` returns it.  Raises InvalidRequestError for a range that is empty, runs backwards,
    is narrower than a millionth of its ends and of 1, or has powers that no format has.
    """
    shown = f"range {range_.strip()!r}"
    found = _RANGE.fullmatch("".join(range_.split()))
    ends = [quotient(found[place]) for place in (2, 3)] if found else []
    if found is None or None in ends:
        raise InvalidRequestError(
            shown,
            "two finite numbers such as 0:1, in brackets where an end is left out, as in [0:1)",
            "correct it",
        )
    low, high = (end for end in ends if end is not None)
    if low > high:
        raise InvalidRequestError(
            f"{shown}, which runs backwards", "the smaller number first", f"write {found[3]}:{found[2]}"
        )
    target = Target(base, low, high, found[1] == "(", found[4] == ")")
    largest = max(abs(low), abs(high))
    if high - low < max(Fraction(1), largest) / _NARROWEST:
        raise InvalidRequestError(f"{shown}, which is hardly one", "more than one millionth", "widen it")
    if largest * abs(Fraction(target.float_rate)) * Fraction(log2(e)) > _LARGEST_POWER:
        raise InvalidRequestError(
            f"{shown} for {target.power}",
            f"powers from 2^-{_LARGEST_POWER} to 2^{_LARGEST_POWER}: no format has more",
            "narrow it",
        )
    return target


def read_base(text: str) -> Fraction | None:
    """Return the base that a text such as 2, 0.5 or e says, None for e.

    Raises InvalidRequestError for what is none: no number, zero, negative, so near to 1 that its powers are all the
    same, or with powers beyond float64 at once.
    """
    if text.strip() == "e":
        return None
    value = quotient(text)
    if value is None or not 1 / _LARGEST_BASE <= value <= _LARGEST_BASE or abs(value - 1) < Fraction(1, 1000):
        raise InvalidRequestError(
            f"base {text.strip()[:40]!r}",
            "e, or a number above 0 and more than a thousandth from 1",
            "choose 2 or e",
        )
    return value


def ball(x: Fraction) -> arb:
    """Return a ball around a rational number, at the precision there is."""
    return arb(fmpq(x.numerator, x.denominator))


def decimal(x: Fraction) -> str:
    """Return a rational number as text that reads back as the same float64; a whole one with all its digits."""
    return str(x.numerator) if x.denominator == 1 else repr(nearest(x))
