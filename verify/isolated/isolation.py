"""A function in a process of its own: called with time and memory limits, and ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.numbers.formats import FORMATS

_PROGRAM = Path(__file__).with_name("worker.py")

# What a function may print in one call, in bytes; a warning or a progress bar is less.
MOST_PRINTED = 1 << 16

# What a worker may answer.
_OUTCOMES = ("loaded", "refused", "returned", "raised", "memory")

# Types that arrays may have: those of formats, and booleans of masks.
_TYPES = {format_.dtype: name for name, format_ in FORMATS.items()} | {
    np.dtype(kind): kind for kind in ("bool", "int64", "int32", "uint8")
}


@dataclass(frozen=True)
class Target:
    """A function, and where it runs.

    text: package.module:function or FILE.py:NAME.  framework: whose arrays it takes, numpy, torch or jax.  python: the
    interpreter, by default this one.  timeout: seconds a call may take.  memory: bytes it may take beyond what it has
    when it is loaded; None for no limit.
    """

    text: str
    framework: str = "numpy"
    device: str = "cpu"
    python: str = sys.executable
    timeout: float = 60.0
    memory: int | None = 4 * 2**30


@dataclass(frozen=True, eq=False)
class Call:
    """What a function is called with: arrays by place and by name, and plain values.

    Queries, keys and values stand first.  strided: arrays have gaps.  given_away: the function may change them, and
    return parts of them.  gradients: "" where its output is asked for; "returned" where it returns gradients of the
    three; "followed" where the framework is to find them, by dout, which the function is not given.  output: which of
    several outputs is asked for.
    """

    positional: Sequence[NDArray[Any]]
    named: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    keywords: Mapping[str, Any] = field(default_factory=dict)
    strided: bool = False
    given_away: bool = False
    gradients: str = ""
    dout: NDArray[Any] | None = None
    output: int = 0

    def but(self, *qkv: NDArray[Any]) -> Call:
        """Return the call with other queries, keys and values."""
        if self.positional:
            return replace(self, positional=qkv)
        return replace(self, named=dict(self.named) | dict(zip(self.named, qkv, strict=False)))


@dataclass(frozen=True, eq=False)
class Returned:
    """What came back: values, in the numpy type of their format, or None and what happened instead; late: it hung.

    parts: all arrays, where gradients were asked for.
    """

    values: NDArray[Any] | None
    dtype: str = ""
    failure: str = ""
    seconds: float = 0.0
    late: bool = False
    parts: tuple[NDArray[Any], ...] = ()


class Function(Protocol):
    """A function that can be called: its parameters, each with its kind and whether it may be left out, if known."""

    parameters: list[tuple[str, str, bool]] | None

    def call(self, call: Call) -> Returned:
        """Call it; whatever it does instead of returning an array is said in words."""


class Loaded:
    """A function that is loaded in its process; call it, and leave the block to end it.

    A process that ends, hangs or is out of memory is replaced by another one at the next call.

        with Loaded(Target("mine.py:attention")) as function:
            function.call(Call([q, k, v])).values
    """

    def __init__(self, target: Target) -> None:
        """Start the process and load the function; InvalidRequestError if there is none, or nothing to load it with."""
        self.target = target
        self._folder = tempfile.TemporaryDirectory(prefix="attnproof-")
        self._process: _Process | None = None
        self.parameters: list[tuple[str, str, bool]] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Loaded:
        """Return the function."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End its process."""
        self.close()

    def close(self) -> None:
        """End the process, and everything that it started."""
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _start(self) -> _Process:
        self._process = _Process(self.target)
        request: dict[str, Any] = {
            "do": "load",
            "target": self.target.text,
            "framework": self.target.framework,
            "device": self.target.device,
            "memory": self.target.memory,
        }
        answer = self._process.ask(request, max(self.target.timeout, 120.0))
        if answer.get("outcome") == "refused":
            raise _refusal(answer)
        if answer.get("outcome") != "loaded":
            raise InvalidRequestError(
                f"{self.target.text}, which cannot be loaded: {_happened(answer, self.target)}",
                "a module that imports, in a Python with numpy",
                "mend it, or correct --python",
            )
        found = answer["parameters"]
        self.parameters = None if found is None else [(str(n), str(kind), bool(free)) for n, kind, free in found]
        return self._process

    def call(self, call: Call) -> Returned:
        """Call the function; whatever it does instead of returning an array is said in words."""
        process = self._process or self._start()
        request, content = packed(call)
        given, result = (Path(self._folder.name) / name for name in ("arrays", "result"))
        given.write_bytes(content)
        result.unlink(missing_ok=True)
        request |= {"do": "call", "file": str(given), "result": str(result)}
        start = monotonic()
        answer = process.ask(request, self.target.timeout)
        seconds = monotonic() - start
        if answer["outcome"] not in ("returned", "raised"):
            self._end()
        if answer["outcome"] == "refused":
            raise _refusal(answer)
        failure = _happened(answer, self.target)
        if failure:
            return Returned(None, "", failure, seconds, late=answer["outcome"] == "late")
        try:
            return unpacked(call, answer, result.read_bytes(), seconds)
        except (OSError, KeyError, TypeError, ValueError):  # it removed the file, or wrote an answer of its own
            self._end()
            return Returned(None, "", "its result cannot be read", seconds)


def packed(call: Call) -> tuple[dict[str, Any], bytes]:
    """Return a call as a worker is told of it, and the bytes of its arrays."""
    arrays: dict[Any, NDArray[Any]] = dict(enumerate(call.positional)) | dict(call.named)
    qkv = [str(name) for name in list(arrays)[:3]]
    if call.dout is not None:
        arrays["dout"] = call.dout
    entries, content = [], bytearray()
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array)
        entries.append(
            {
                "name": str(name),
                "dtype": _TYPES[plain.dtype],
                "shape": list(plain.shape),
                "size": plain.size,
                "start": len(content),
                "strided": call.strided and plain.ndim > 1,
            }
        )
        content += plain.tobytes()
    request = {
        "arrays": entries,
        "positional": [str(place) for place in range(len(call.positional))],
        "named": {name: name for name in call.named},
        "keywords": dict(call.keywords),
        "gradients": call.gradients,
        "qkv": qkv,
        "output": call.output,
    }
    return request, bytes(content)


def _refusal(answer: Mapping[str, Any]) -> InvalidRequestError:
    given, expected, remedy = (str(part) for part in [*answer["parts"], "", "", ""][:3])
    return InvalidRequestError(given, expected, remedy)


def unpacked(call: Call, answer: Mapping[str, Any], content: bytes, seconds: float) -> Returned:
    """Return what a worker's answer to a call and the bytes of a result say."""
    parts: list[NDArray[Any]] = []
    for part in answer["parts"]:
        name, shape = str(part["dtype"]), [int(size) for size in part["shape"]]
        kind = FORMATS[name].dtype if name in FORMATS else None
        failure = "" if call.given_away else _unfit(answer)
        failure = failure or ("" if kind else f"it returned an array of type {name}")
        if kind is None or failure:
            return Returned(None, name, failure, seconds)
        count = prod(shape)
        if len(content) < count * kind.itemsize:
            return Returned(None, name, "its result cannot be read", seconds)
        parts.append(np.frombuffer(content, kind, count).reshape(shape))
        content = content[count * kind.itemsize :]
    return Returned(parts[0], parts[0].dtype.name, "", seconds, parts=tuple(parts))


def _unfit(answer: Mapping[str, Any]) -> str:
    """Return what is wrong with an answer whatever its numbers are; empty if nothing is."""
    names = {str(place): name for place, name in enumerate(("q", "k", "v"))}
    if answer.get("changed"):
        return f"it changed its input {', '.join(names.get(name, name) for name in answer['changed'])}"
    if answer.get("shared"):
        return f"it returned a view of its input {', '.join(names.get(name, name) for name in answer['shared'])}"
    return "it returned an array that cannot be written to" if answer.get("locked") else ""


def _happened(answer: Mapping[str, Any], target: Target) -> str:
    """Return what happened instead of an answer; empty where there is one."""
    outcome = answer.get("outcome")
    if answer.get("printed", 0) > MOST_PRINTED:
        return f"it printed more than {MOST_PRINTED >> 10} kB"
    if outcome == "raised":
        return f"it raised {answer['text']}" if "returned" not in answer["text"][:8] else f"it {answer['text']}"
    if outcome == "memory":
        limit = "" if target.memory is None else f" within {target.memory / 2**30:.3g} GiB"
        return f"it ran out of memory{limit}"
    if outcome == "late":
        return f"it took more than {target.timeout:g} s"
    if outcome == "garbled":
        return "it wrote where its process answers"
    if outcome == "ended":
        return f"its process ended by itself ({answer['text']})"
    return ""


class _Process:
    """A running worker: its pipes, and what the function has printed."""

    def __init__(self, target: Target) -> None:
        """Start it; InvalidRequestError for an interpreter that is none."""
        incoming, self._requests = os.pipe()
        self._answers, outgoing = os.pipe()
        parent, self._alive = os.pipe()
        command = [target.python, str(_PROGRAM), str(incoming), str(outgoing), str(parent)]
        environment = {**os.environ, "JAX_ENABLE_X64": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(incoming, outgoing, parent),
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            for number in (self._requests, self._answers, self._alive):
                os.close(number)
            raise InvalidRequestError(
                f"the interpreter {target.python!r}, which cannot be started ({error.strerror or error})",
                "a Python with numpy",
                "correct --python",
            ) from error
        finally:
            for number in (incoming, outgoing, parent):
                os.close(number)
        self._python = target.python
        self._printed, self._start_of_print = 0, b""
        self._received = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        while chunk := os.read(self._child.stdout.fileno(), 1 << 16):
            self._printed += len(chunk)
            self._start_of_print = (self._start_of_print + chunk)[:4000]

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Return the answer to a request, or {"outcome": "late" or "ended"}."""
        self._printed = 0
        with contextlib.suppress(BrokenPipeError):
            os.write(self._requests, json.dumps(request).encode() + b"\n")
        end = monotonic() + timeout
        while b"\n" not in self._received:
            if self._printed > MOST_PRINTED:
                return {"outcome": "raised", "text": "", "printed": self._printed}
            ready, _, _ = select.select([self._answers], [], [], min(0.1, max(0.0, end - monotonic())))
            if ready:
                chunk = os.read(self._answers, 1 << 16)
                if not chunk:
                    return {"outcome": "ended", "text": self._end_in_words()}
                self._received += chunk
            elif monotonic() >= end:
                return {"outcome": "late"}
        line, self._received = self._received.split(b"\n", 1)
        try:
            answer = json.loads(line)
            outcome = answer["outcome"]
        except (ValueError, TypeError, KeyError, RecursionError):
            outcome = None
        if outcome not in _OUTCOMES:  # something else has written to the pipe
            return {"outcome": "garbled"}
        return {**answer, "printed": self._printed}

    def _end_in_words(self) -> str:
        code = self._child.wait()
        if code < 0:
            return f"signal {-code}, {signal.Signals(-code).name}"
        last = self._start_of_print.decode(errors="replace").strip().splitlines()[-1:]
        return ": ".join([f"exit code {code}", *last])

    def end(self) -> None:
        """End the process and whatever it has started in its session."""
        for number in (self._requests, self._alive):
            with contextlib.suppress(OSError):
                os.close(number)
        with contextlib.suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._reader.join(1.0)
        with contextlib.suppress(OSError):
            os.close(self._answers)
        if self._child.stdout is not None:
            self._child.stdout.close()
