"""What forms, states and bounds ask of a polynomial of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.errors import MechanismError
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.formats import FORMATS
from verify.numbers.rounding import correctly_rounded


class Polynomial(Protocol):
    """sum over p <= N of c_p s^p, for each member of a mechanism."""

    def order(self, member: Member) -> int:
        """Return N, the highest power kept."""

    def coefficients(self, member: Member) -> Sequence[Fraction]:
        """Return c_0 .. c_N, exactly."""

    def factors(self, member: Member) -> Sequence[float] | None:
        """Return p! c_p for p = 0 .. N; None if all are 1."""

    def evaluate(
        self, logits: NDArray[Any], member: Member, arithmetic: Arithmetic, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return the polynomial of logits, every step in the arithmetic's sums; in `out`, if not in a new array."""

    def evaluation(self, member: Member) -> tuple[Sequence[int], Sequence[float]]:
        """Return, for p = 0 .. N, how often `evaluate` rounds the term c_p s^p, and a_p.

        An error e in step p ends as at most a_p e |s|^p.
        """


def polynomial(member: Member) -> Polynomial:
    """Return the mechanism of a member that is known to be a polynomial of the logits."""
    return cast(Polynomial, member.mechanism)


def coefficients_of(member: Member) -> list[Fraction]:
    """Return c_0 .. c_N; MechanismError if they are no rational numbers, or all zero."""
    found: Any = polynomial(member).coefficients(member)
    rational = isinstance(found, list | tuple) and all(type(c) in (int, Fraction) for c in found)
    if not rational or not any(found):
        raise MechanismError(
            f"coefficients {found!r} of {member.name}",
            "a list of Fractions that are not all 0",
            "mend them",
        )
    return [c if type(c) is Fraction else Fraction(c) for c in found]


def nearest(x: Fraction) -> float:
    """Return the float64 nearest to a rational number; infinite beyond the largest."""
    return correctly_rounded(x, FORMATS["float64"])
