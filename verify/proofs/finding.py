"""What became of a statement that was to be proved or checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A statement, how far it reaches, and the first thing found against it.

    scope: "proved for all d, p" or "checked for ...".  steps: what a reader follows, in order.  difference: None if
    nothing was found, else the first difference in words.
    """

    name: str
    source: str
    statement: str
    scope: str
    steps: tuple[str, ...] = ()
    difference: str | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing was found against it."""
        return self.difference is None


def first_difference(differences: Callable[[], Iterable[str]]) -> str | None:
    """Return the first of the differences, or None; code under test that raises differs too, and is not let through."""
    try:
        return next(iter(differences()), None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def listed(values: Iterable[object]) -> str:
    """Return values as a list in a sentence."""
    return ", ".join(map(str, values))


@dataclass(frozen=True)
class Check:
    """A statement checked on cases: `differences` yields what contradicts it."""

    name: str
    source: str
    statement: str
    scope: str
    differences: Callable[[], Iterable[str]]

    def finding(self) -> Finding:
        """Check it and return what became of it."""
        return Finding(
            self.name, self.source, self.statement, self.scope, difference=first_difference(self.differences)
        )
