"""A problem as another suite poses it: the call is given, and only the answer has to be brought into our order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from verify.check.interface import Interface, Parameters
from verify.errors import InvalidRequestError
from verify.isolated.isolation import Call
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format
from verify.problem import Problem


@dataclass(frozen=True, eq=False, kw_only=True)
class Posed(Interface):
    """A problem and the call that asks a function for it.

    problem: what is judged.  given: the call.  answer: the shape that the output has to have.  taken: what makes of an
    output [..., heads, tokens, size], those of the problem.  place: where an element of these stands in the output.
    reason: what the case is, and how much of it is judged.
    """

    problem: Problem
    given: Call
    answer: tuple[int, ...]
    taken: Callable[[NDArray[np.generic]], NDArray[np.generic]]
    place: Callable[[tuple[int, ...]], tuple[int, ...]]
    reason: str
    layout: str = "bhsd"
    names: Mapping[str, str] = field(default_factory=dict)

    def require(self, problem: Problem, format_: Format, dout: Float64Array | None = None) -> None:
        """Do nothing: the problem was made of what the call holds."""

    def call(self, problem: Problem, format_: Format, *, strided: bool = False) -> Call:
        """Return the call."""
        return self.given

    def heads_first(self, output: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the elements of an output that the problem has, [..., heads, tokens, size]."""
        return self.taken(output)

    def shape(self, problem: Problem) -> tuple[int, ...]:
        """Return the shape that the output has to have."""
        return self.answer


@dataclass(frozen=True)
class How:
    """How a function is called: its parameters, if known, and what it always does, as `interface` takes them."""

    parameters: Parameters | None
    layout: str = "bhsd"
    causal: bool = False
    grouped: bool = False
    scale: float | None = None
    takes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignCase:
    """A case of another suite.

    arithmetic: of its numbers.  pose: how it is put to a function, or, in words, why it is not.  log_sums: the answer
    is logarithms of sums, not an output.
    """

    name: str
    arithmetic: str
    pose: Callable[[How], Posed | str]
    log_sums: bool = False

    @property
    def reason(self) -> str:
        """Why it is there."""
        return "a case of another suite"


def lacking(how: How, names: Sequence[str]) -> str:
    """Return what a function does not take of these names, or needs beside them, in words; empty if it fits.

    Raises InvalidRequestError where something is said of the call that the names say already.
    """
    if how != How(how.parameters):
        raise InvalidRequestError(
            "layout, causal, grouped, scale or takes for cases that say them", "cases alone", "leave them out"
        )
    parameters = how.parameters
    if parameters is None:
        return ""
    taken = {name for name, kind, _ in parameters if kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")}
    anything = any(kind == "VAR_KEYWORD" for _, kind, _ in parameters)
    missing = [] if anything else [name for name in names if name not in taken]
    if missing:
        return f"the function does not take {', '.join(missing)}"
    more = [
        name
        for name, kind, free in parameters
        if name not in names and not free and kind not in ("VAR_KEYWORD", "VAR_POSITIONAL")
    ]
    return f"the function needs {', '.join(more)} too" if more else ""
