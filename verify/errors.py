"""Every error this project raises on purpose, under one base class."""

from __future__ import annotations

from collections.abc import Iterable


class AttnproofError(Exception):
    """Base of every error raised on purpose; the command line catches it once."""


class InvalidRequestError(AttnproofError):
    """The request was wrong: says what was given, what was expected and what to do, in one line."""

    def __init__(self, given: str, expected: str, remedy: str) -> None:
        """Compose the line; the three parts stay readable as attributes."""
        super().__init__(f"{given}; expected {expected}; {remedy}")
        self.given = given
        self.expected = expected
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[InvalidRequestError], tuple[str, str, str]]:
        """Pickle the three parts, so that the error crosses process boundaries."""
        return (type(self), (self.given, self.expected, self.remedy))


def unknown(given: str, name: object, known: Iterable[str], remedy: str = "choose one") -> InvalidRequestError:
    """Return what is to be raised for a name that is none of those known; a near one is suggested.

    given: how the message calls it.  remedy: what to do where none is near.
    """
    from difflib import get_close_matches  # only where something is wrong: commands start quickly

    names = list(known)
    near = get_close_matches(str(name), names, 1)
    return InvalidRequestError(given, "one of " + ", ".join(names), f"did you mean {near[0]}?" if near else remedy)


class TooLargeError(InvalidRequestError):
    """The request is well formed but would need more memory than allowed: a sweep records it as refused."""


class OvertimeError(InvalidRequestError):
    """The request is well formed but takes longer than allowed: a sweep records it as refused."""


class MechanismError(InvalidRequestError):
    """A mechanism of somebody's own raises, or gives what it may not: a sweep records its cell as failed."""


class UndefinedWeightsError(MechanismError):
    """The weights of a query add up to no number: the formula is not defined there, whatever the precision."""


class CertificationError(AttnproofError):
    """The exact value could not be enclosed as tightly as asked within the precision cap."""


class ViolatedBoundError(AttnproofError):
    """A measured error exceeds a bound that is sure to hold: one of the two is wrong."""


class NonconformingError(AttnproofError):
    """A mechanism fails checks of what a mechanism must be like: one line for each."""

    def __init__(self, mechanism: str, failures: tuple[str, ...]) -> None:
        """Compose the lines; the parts stay readable as attributes."""
        count = f"{len(failures)} check" + "s" * (len(failures) > 1)
        super().__init__("\n".join([f"mechanism {mechanism!r} fails {count}:", *failures]))
        self.mechanism = mechanism
        self.failures = failures

    def __reduce__(self) -> tuple[type[NonconformingError], tuple[str, tuple[str, ...]]]:
        """Pickle the parts."""
        return (type(self), (self.mechanism, self.failures))


class WorkerDiedError(AttnproofError):
    """A process that worked for this one died, and with it its part of the result."""
