"""A function of somebody's own in place of a power, where it is said to be; it runs in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from verify.errors import InvalidRequestError
from verify.isolated import isolation
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format

_TEXT = re.compile(r"(?P<place>.+):(?P<name>[^\W\d]\w*)", re.DOTALL)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Function:
    """A function of an array of numbers of a format, which returns as many real numbers."""

    name: str
    function: isolation.Function
    format: Format

    @property
    def description(self) -> str:
        """What it is, in words."""
        return f"a function of {self.format.name} numbers"

    def values(self, x: Float64Array) -> Float64Array:
        """Return the function of numbers of the format, [n], as float64.

        Raises InvalidRequestError if it does anything but return n real numbers of a format; its array is its own to
        change.
        """
        returned = self.function.call(isolation.Call([x.astype(self.format.dtype)], given_away=True))
        if returned.values is None:
            raise InvalidRequestError(
                f"{self.name} with {len(x):,} numbers of {self.format.name}: {returned.failure}",
                "a function of one array of numbers, which returns as many",
                "mend it",
            )
        if returned.values.shape != x.shape:
            raise InvalidRequestError(
                f"{self.name}, which returns the shape {returned.values.shape} for {x.shape}",
                "the same shape",
                "mend it",
            )
        with np.errstate(invalid="ignore"):  # a NaN of another format may be one that signals
            return returned.values.astype(np.float64)


def is_function(text: str) -> bool:
    """Say whether a text names a function as one can be named, FILE.py:NAME or package.module:NAME."""
    return _TEXT.fullmatch(text) is not None


@contextmanager
def loaded_function(text: str, format_: Format, how: isolation.Target | None = None) -> Iterator[Function]:
    """Load the function that FILE.py:NAME or package.module:NAME names, and end its process on leaving.

    how: where it runs and within which limits, whatever function it names.  Raises InvalidRequestError, which says what
    is wrong.
    """
    found = _TEXT.fullmatch(text)
    assert found is not None, "whoever asks knows that it is a function"
    if not found["place"].endswith(".py") and not _MODULE.fullmatch(found["place"]):
        raise InvalidRequestError(f"{text!r}", "FILE.py:NAME or package.module:NAME", "name the file or the module")
    target = isolation.Target(text) if how is None else replace(how, text=text)
    with isolation.Loaded(target) as function:
        yield Function(text, function, format_)
