"""Numbers as people write them, taken exactly: 0.1 is one tenth."""

from __future__ import annotations

import re
from fractions import Fraction

# Digits and exponents have limits: a number of a billion digits is a typing error, and stops here and not in memory.
NUMBER = r"(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,3})?"

_SIGNED = re.compile(rf"[+-]?{NUMBER}", re.ASCII)


def exact_number(text: str) -> Fraction | None:
    """Return the rational number that a decimal such as -2.5e-3 is; None for anything else."""
    return Fraction(text) if _SIGNED.fullmatch(text) else None


def quotient(text: str) -> Fraction | None:
    """Return a decimal, or one divided by another as in 1/6, exactly; None for anything else."""
    above, slash, below = (part.strip() for part in text.partition("/"))
    numerator, denominator = exact_number(above), exact_number(below) if slash else Fraction(1)
    return numerator / denominator if numerator is not None and denominator else None
