"""A function called in this process: for tests that have it at hand, and trust it not to hang or to crash."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from verify.errors import InvalidRequestError
from verify.isolated.isolation import Call, Returned, packed, unpacked
from verify.isolated.worker import Arrays, Function, RefusedError, parameters, said


class InProcess:
    """A Python function, called here; InvalidRequestError for a framework that is not installed.

    InProcess(attention).call(Call([q, k, v])).values
    """

    def __init__(self, function: Callable[..., Any], framework: str = "numpy", device: str = "cpu") -> None:
        """Hold the function, and whose arrays it takes."""
        if not callable(function):
            raise InvalidRequestError(f"{type(function).__name__} as the function", "a function", "give one")
        try:
            self._function = Function(function, Arrays(framework, device))
        except RefusedError as error:
            given, expected, remedy = (str(part) for part in error.args)
            raise InvalidRequestError(given, expected, remedy) from error
        self.parameters: list[tuple[str, str, bool]] | None = parameters(function)

    def call(self, call: Call) -> Returned:
        """Call the function; what it raises is said in words."""
        request, content = packed(call)
        start = monotonic()
        try:
            answer, result = self._function.answer(request, content)
        except Exception as error:  # whatever somebody else's function raises
            return Returned(None, "", f"it raised {said(error)}", monotonic() - start)
        if answer["outcome"] != "returned":
            return Returned(None, "", f"it {answer['text']}", monotonic() - start)
        return unpacked(call, answer, result, monotonic() - start)
