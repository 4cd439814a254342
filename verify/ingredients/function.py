"""A numpy function of somebody's own in place of a power, where it is said to be."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from verify.arguments import exact_numbers
from verify.errors import InvalidRequestError
from verify.mechanisms.loading import content_of, executed, reason_of
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format

_TEXT = re.compile(r"(?P<place>.+):(?P<name>[^\W\d]\w*)", re.DOTALL)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Function:
    """A function of an array of numbers of a format, which returns as many real numbers."""

    name: str
    call: Callable[..., Any]
    format: Format

    @property
    def description(self) -> str:
        """What it is, in words."""
        return f"a function of {self.format.name} numbers"

    def values(self, x: Float64Array) -> Float64Array:
        """Return the function of numbers of the format, [n], as float64.

        What it prints goes to stderr.  Raises InvalidRequestError if it raises, or returns anything but n real numbers.
        """
        try:
            with redirect_stdout(sys.stderr), np.errstate(all="ignore"):
                found = self.call(x.astype(self.format.dtype))
        except (Exception, SystemExit) as error:  # whatever somebody else's function raises
            path = getattr(getattr(self.call, "__code__", None), "co_filename", "")
            raise InvalidRequestError(
                f"{self.name}, which raises {reason_of(error, path)} for {len(x):,} numbers of {self.format.name}",
                "a function of one array of numbers",
                "mend it",
            ) from error
        with np.errstate(invalid="ignore"):  # a NaN of another format may be one that signals
            values = exact_numbers(f"what {self.name} returns", found)
        if values.shape != x.shape:
            raise InvalidRequestError(
                f"{self.name}, which returns the shape {values.shape} for {x.shape}", "the same shape", "mend it"
            )
        return values


def is_function(text: str) -> bool:
    """Say whether a text names a function as one can be named, FILE.py:NAME or package.module:NAME."""
    return _TEXT.fullmatch(text) is not None


def read_function(text: str, format_: Format) -> Function:
    """Return the function that FILE.py:NAME or package.module:NAME names; InvalidRequestError says what is wrong."""
    found = _TEXT.fullmatch(text)
    assert found is not None, "whoever asks knows that it is a function"
    place, name = found["place"], found["name"]
    if place.endswith(".py"):
        module = executed(str(Path(place).resolve()), sha256(content_of(place)).hexdigest())
    elif _MODULE.fullmatch(place):
        module = _imported(place)
    else:
        raise InvalidRequestError(f"{text!r}", "FILE.py:NAME or package.module:NAME", "name the file or the module")
    if not hasattr(module, name):
        raise InvalidRequestError(f"{place} without {name}", "a function of that name", "check the name")
    call = getattr(module, name)
    if not callable(call) or isinstance(call, type):
        raise InvalidRequestError(
            f"{text}, which is of type {type(call).__name__}", "a function of an array", "name another"
        )
    return Function(text, call, format_)


def _imported(module: str) -> Any:
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever somebody else's module raises
        raise InvalidRequestError(
            f"the module {module}, which does not import ({reason_of(error)})",
            "one that does",
            "mend it, put its folder on PYTHONPATH, or name its file",
        ) from error
