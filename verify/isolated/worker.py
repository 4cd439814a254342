"""Run somebody's attention function: the program of a process of its own, which needs numpy and nothing of ours.

It is started by path, with any interpreter of Python 3.8 or newer, and told on a pipe, a JSON document a line, what to
load and which arrays of a file to call it with.  What the function prints goes elsewhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

# How bits of formats that numpy does not know are carried, and what torch calls the format.
BITS = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
FRAMEWORKS = ("numpy", "torch", "jax")


class RefusedError(Exception):
    """The function cannot be called at all: given, expected, remedy."""


class UnfitError(Exception):
    """What the function returned is not what was asked for."""


def loaded(target: str) -> Any:
    """Return the function of a text, package.module:function or FILE.py:NAME."""
    where, _, name = target.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None
            assert spec.loader is not None, "a path that ends in .py has one"
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            sys.path.insert(0, str(Path(where).resolve().parent))
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except BaseException as error:  # whatever somebody else's module raises, SystemExit too
        raise RefusedError(
            f"{where}, which does not import ({said(error)})", "a module that does", "mend it"
        ) from error
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise RefusedError(f"{where} without {name}", "a function of that name", "check the name")
        found = getattr(found, part)
    if not callable(found):
        raise RefusedError(
            f"{name} of {where}, which is of type {type(found).__name__}", "a function", "name a function"
        )
    return found


def parameters(function: Any) -> Any:
    """Return the names of what a function takes, each with its kind and whether it may be left out; None if unknown."""
    try:
        own = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a built-in one
        return None
    return [[p.name, p.kind.name, p.default is not inspect.Parameter.empty] for p in own]


def said(error: BaseException) -> str:
    """Return an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


class Arrays:
    """Arrays of a framework, from and to bytes."""

    def __init__(self, framework: str, device: str) -> None:
        """Import the framework; RefusedError if it is not installed."""
        self.framework, self.device = framework, device
        self.library: Any
        try:
            self.library = None if framework == "numpy" else importlib.import_module(framework)
        except ImportError as error:
            given = f"{framework} arrays, without {framework} ({said(error)})"
            remedy = "install it there, or name another interpreter with --python"
            raise RefusedError(given, "an interpreter that has it", remedy) from error
        if framework == "torch":
            try:
                self.library.zeros(1, device=device)
            except Exception as error:
                raise RefusedError(
                    f"device {device!r} ({said(error)})", "one that torch has", "correct --device"
                ) from error

    def _type(self, name: str) -> Any:
        if name in BITS and self.framework != "torch":
            try:
                return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
            except ImportError as error:
                given = f"{name} arrays of {self.framework}, without ml_dtypes"
                remedy = "install it there, or choose another --arithmetic"
                raise RefusedError(given, "an interpreter that has it", remedy) from error
        return np.dtype(BITS.get(name, name))

    def made(self, content: bytes, entry: Any) -> Any:
        """Return an array of the framework from its part of the content of a file."""
        kind = self._type(entry["dtype"])
        raw = np.frombuffer(content, kind, entry["size"], entry["start"]).reshape(entry["shape"])
        if entry.get("strided"):
            room = np.zeros((*raw.shape[:-1], 2 * raw.shape[-1] + 3), kind)
            raw = self._strided(room, raw)
        else:
            raw = raw.copy()
        if self.framework == "numpy":
            return raw
        if self.framework == "jax":
            return self.library.numpy.asarray(raw)
        if entry["dtype"] in BITS:
            tensor = self.library.from_numpy(raw.view("int" + BITS[entry["dtype"]][4:]))
            tensor = tensor.view(getattr(self.library, entry["dtype"]))
        else:
            tensor = self.library.from_numpy(raw)
        return tensor.to(self.device)

    def gradients(self, output: Any, given: Any, names: Any) -> Any:
        """Return the gradients of sum(dout * output) that the framework finds, by the arrays of some names."""
        own = [given[name] for name in names]
        if self.framework == "jax":
            _, pulled = self.library.vjp(lambda *x: output({**given, **{n: x[i] for i, n in enumerate(names)}}), *own)
            return pulled(given["dout"])
        for array in own:
            array.requires_grad_()
        found = self.library.autograd.grad(output(given), own, given["dout"], allow_unused=True)
        lost = [label for place, label in enumerate("qkv") if found[place] is None]
        if lost:
            raise UnfitError(f"returned an output that does not depend on {' and '.join(lost)}")
        return found

    @staticmethod
    def _strided(room: Any, raw: Any) -> Any:
        part = room[..., 1 : 2 * raw.shape[-1] + 1 : 2]
        part[...] = raw
        return part

    def plain(self, value: Any) -> Any:
        """Return name of type, bytes as a contiguous numpy array, of what is an array of the framework."""
        if self.framework == "torch":
            if not isinstance(value, self.library.Tensor):
                raise UnfitError(f"returned {type(value).__name__}; expected a tensor")
            value = value.detach().cpu().contiguous()
            name = str(value.dtype).replace("torch.", "")
            if name in BITS:
                value = value.view(getattr(self.library, "int" + BITS[name][4:]))
            return name, value.numpy()
        if self.framework == "jax":
            if not isinstance(value, self.library.Array):
                raise UnfitError(f"returned {type(value).__name__}; expected an array of jax")
            value = np.asarray(value)
        if not isinstance(value, np.ndarray):
            raise UnfitError(f"returned {type(value).__name__}; expected an array of numpy")
        if value.dtype.kind not in "fiubV":
            raise UnfitError(f"returned an array of type {value.dtype}; expected floating-point numbers")
        return value.dtype.name, np.ascontiguousarray(
            value, None if value.dtype.isnative else value.dtype.newbyteorder("=")
        )


def _several(result: Any) -> bool:
    return isinstance(result, (tuple, list)) and len(result) > 0


class Function:
    """The function with its arrays."""

    def __init__(self, function: Any, arrays: Arrays) -> None:
        """Hold both."""
        self.function, self.arrays, self.process = function, arrays, os.getpid()

    def call(self, request: Any) -> Any:
        """Call the function with arrays of a file, write what it returns to another, and return what is to be said."""
        answer, values = self.answer(request, Path(request["file"]).read_bytes())
        end_unless(self.process)
        Path(request["result"]).write_bytes(values)
        return answer

    def answer(self, request: Any, content: bytes) -> Any:
        """Call the function with arrays of that content; return what is to be said, and the bytes of the result."""
        given = {entry["name"]: self.arrays.made(content, entry) for entry in request["arrays"]}
        kept = {name: self._bytes(array) for name, array in given.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                results = self._results(request, given)
            except UnfitError as error:
                return {"outcome": "raised", "text": str(error)}, b""
        answer: dict[str, Any] = {"outcome": "returned", "parts": []}
        changed = [name for name, before in kept.items() if self._bytes(given[name]) != before]
        if changed:
            answer["changed"] = changed
        if self.arrays.framework == "numpy":
            arrays = [x for x in results if isinstance(x, np.ndarray)]
            answer["shared"] = [
                n for n, x in given.items() if x.size and any(np.may_share_memory(one, x) for one in arrays)
            ]
            answer["locked"] = not all(x.flags.writeable for x in arrays)
        found = b""
        for result in results:
            try:
                name, values = self.arrays.plain(result)
            except UnfitError as error:
                return {"outcome": "raised", "text": str(error)}, b""
            answer["parts"].append({"dtype": name, "shape": list(values.shape)})
            found += values.tobytes()
        return answer, found

    def _results(self, request: Any, given: Any) -> Any:
        """Return the output alone, or gradients of q, k and v: those that the function returns, or a framework's."""
        positional, named = request["positional"], request["named"]
        plain = {name: tuple(x) if isinstance(x, list) else x for name, x in request["keywords"].items()}

        def output(arrays: Any) -> Any:
            result = self.function(
                *(arrays[name] for name in positional), **{name: arrays[a] for name, a in named.items()}, **plain
            )
            if request["gradients"] == "returned":
                return result
            number = request["output"]  # one may come with others, as logarithms of sums
            if _several(result) and len(result) > number:
                return result[number]
            if number:
                raise UnfitError(f"returned no output {number + 1}")
            return result

        if request["gradients"] == "followed":
            return self.arrays.gradients(output, given, request["qkv"])
        result = output(given)
        if request["gradients"] != "returned":
            return (result,)
        if not _several(result) or len(result) != len(request["qkv"]):
            count = len(result) if _several(result) else 1
            raise UnfitError(f"returned {count} arrays; expected gradients of q, k and v")
        return tuple(result)

    def _bytes(self, array: Any) -> int:
        return hash(self.arrays.plain(array)[1].tobytes())


def limit_memory(more: int) -> None:
    """Let this process have so many bytes more than it has now, where the system can say so."""
    try:
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))
    except (ImportError, OSError, ValueError):
        return


def answered(request: Any, state: Any) -> Any:
    """Return the answer to a request."""
    if request["do"] == "load":
        arrays = Arrays(request["framework"], request["device"])
        state["function"] = Function(loaded(request["target"]), arrays)
        found = parameters(state["function"].function)
        if request["memory"] is not None:
            limit_memory(request["memory"])
        return {"outcome": "loaded", "parameters": found}
    return state["function"].call(request)


def end_unless(process: int) -> None:
    """End this process if it is another one: a function that forks returns in both."""
    if os.getpid() != process:
        os._exit(0)


def end_with(parent: int) -> None:
    """End this process when the one that started it is gone: its end of a pipe is closed then."""

    def wait() -> None:
        os.read(parent, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers, parent = (int(text) for text in sys.argv[1:4])
    sys.argv = sys.argv[:1]
    sys.path[0] = str(Path.cwd())  # not the folder of this file
    end_with(parent)
    own = os.getpid()
    state: Any = {}
    with os.fdopen(requests, "r", encoding="utf-8") as incoming, os.fdopen(answers, "w", encoding="utf-8") as outgoing:
        for line in incoming:
            try:
                answer = answered(json.loads(line), state)
            except RefusedError as error:
                answer = {"outcome": "refused", "parts": list(error.args)}
            except MemoryError as error:
                answer = {"outcome": "memory", "text": said(error)}
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever the function raises
                answer = {"outcome": "raised", "text": said(error)}
            end_unless(own)
            sys.stdout.flush()
            sys.stderr.flush()
            outgoing.write(json.dumps(answer) + "\n")
            outgoing.flush()


if __name__ == "__main__":
    main()
