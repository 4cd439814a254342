"""Numbers that shape a scenario: their defaults, and what they may be."""

from __future__ import annotations

from dataclasses import dataclass

from verify.errors import InvalidRequestError


def shortest(value: float) -> str:
    """Return the shortest text that reads back as the same number, 4 rather than 4.0."""
    return repr(value).removesuffix(".0")


@dataclass(frozen=True)
class Count:
    """A number of things that the tokens must suffice for: an integer from 1 to the number of tokens."""

    default: int

    def checked(self, name: str, value: float, tokens: int) -> int:
        """Return the value as an integer; InvalidRequestError if it is none, or out of bounds."""
        expected = "an integer of at least 1 and at most the number of tokens"
        if not float(value).is_integer() or value < 1:
            raise InvalidRequestError(f"{name} {shortest(value)}", expected, f"choose another {name}")
        if value > tokens:
            raise InvalidRequestError(
                f"{name} {shortest(value)} with {tokens} tokens", expected, f"lower {name} or take more tokens"
            )
        return int(value)


@dataclass(frozen=True)
class Real:
    """A number between bounds.

    least, most: the bounds, both of them allowed; above: least itself is not.
    """

    default: float
    least: float
    most: float
    above: bool = False

    def checked(self, name: str, value: float, tokens: int) -> float:
        """Return the value; InvalidRequestError if it is out of bounds or NaN, whatever the tokens."""
        # a comparison with NaN fails, and so refuses it
        if not self.least <= value <= self.most or (self.above and value == self.least):
            start = f"above {self.least:g}, up to" if self.above else f"from {self.least:g} to"
            raise InvalidRequestError(
                f"{name} {shortest(value)}", f"a number {start} {self.most:g}", f"choose another {name}"
            )
        return value


Parameter = Count | Real
