"""Find mechanisms where they are said to be, and require that they are some: shipped, installed, or in a file."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from verify.arguments import Parameter, Whole
from verify.attention.contract import Form, Mechanism
from verify.errors import AttnproofError, InvalidRequestError, MechanismError

# Distributions name their mechanisms in this group of entry points.
GROUP = "attnproof.mechanisms"

# Set it to "off", and what others have installed is left alone.
SWITCH = "ATTNPROOF_PLUGINS"

FORMULA_ERRORS = ("truncation", "deviation")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)


@cache
def found_at(target: str) -> Mechanism:
    """Return the mechanism at "module:NAME" of what is shipped."""
    module, _, name = target.partition(":")
    mechanism: Mechanism = getattr(importlib.import_module(module), name)
    mechanism.origin = (found_at, (target,))
    return mechanism


@cache
def installed(name: str, value: str) -> Mechanism:
    """Return the mechanism of an entry point; InvalidRequestError says what is wrong with it."""
    try:
        with redirect_stdout(sys.stderr):
            found = EntryPoint(name, value, GROUP).load()
    except (Exception, SystemExit) as error:  # whatever somebody else's module raises
        raise InvalidRequestError(
            f"the installed mechanism {name!r}, which cannot be loaded from {value} ({reason_of(error)})",
            "a module that imports",
            f"mend or uninstall it, or set {SWITCH}=off",
        ) from error
    mechanism = _foreign(found, f"{value} of the entry point {name!r}")
    if mechanism.name != name:
        raise InvalidRequestError(
            f"the installed mechanism {mechanism.name!r} under the entry point {name!r}", "the same name", "rename one"
        )
    return _coming_from(mechanism, installed, name, value)


def in_file(text: str) -> Mechanism:
    """Return the mechanism of a text FILE.py:NAME; InvalidRequestError says what is wrong with text or file.

    in_file("mine.py:MINE")
    """
    path, colon, name = text.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise InvalidRequestError(f"mechanism {text!r}", "FILE.py:NAME", "name the file and what it defines")
    return from_file(str(Path(path).resolve()), name, sha256(content_of(path)).hexdigest())


@cache
def from_file(path: str, name: str, digest: str) -> Mechanism:
    """Return the mechanism that a file of that content defines; InvalidRequestError says what is wrong with it."""
    module = executed(path, digest)
    if not hasattr(module, name):
        raise InvalidRequestError(f"{path} without {name}", "a mechanism of that name", "check the name")
    return _coming_from(_foreign(getattr(module, name), f"{name} of {path}"), from_file, path, name, digest)


def unchanged_content(path: str, digest: str) -> bytes:
    """Return what a file holds; InvalidRequestError if that is not what it held before."""
    content = content_of(path)
    if sha256(content).hexdigest() != digest:
        raise InvalidRequestError(f"{path}, which changed meanwhile", "the same content throughout", "start again")
    return content


def home_of(mechanism: Mechanism) -> str:
    """Return the module that a mechanism was found in or, where nobody looked for it, its class."""
    function, arguments = mechanism.origin or (None, ())
    if function is None:
        return type(mechanism).__module__
    return _module_name(arguments[2]) if function is from_file else str(arguments[-1]).partition(":")[0]


def file_of(mechanism: Mechanism) -> tuple[str, str] | None:
    """Return path and digest of the file that was named for a mechanism; None if none was."""
    function, arguments = mechanism.origin or (None, ())
    return (arguments[0], arguments[2]) if function is from_file else None


def is_shipped(mechanism: Mechanism) -> bool:
    """Say whether a mechanism is one of ours, found where the registry says."""
    return mechanism.origin is not None and mechanism.origin[0] is found_at


@contextmanager
def explained(mechanism: Mechanism) -> Iterator[None]:
    """Turn what somebody else's mechanism raises into MechanismError; what is shipped, and raises, is a bug.

    What it prints goes to stderr: results go to stdout.

    with explained(member.mechanism):
        labels = member.labels
    """
    if is_shipped(mechanism):
        yield
        return
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (AttnproofError, MemoryError):  # how much memory there is, is not its fault
        raise
    except (Exception, SystemExit) as error:
        path, _ = file_of(mechanism) or ("", "")
        raise MechanismError(
            f"{mechanism.name}, which raises {reason_of(error, path)}",
            "code that runs",
            f"mend {Path(path).name or 'it'}",
        ) from error


def require_mechanism(found: Any, where: str) -> Mechanism:
    """Return what was found if it is a mechanism that declares all it must; InvalidRequestError otherwise.

    where: what it is called in messages.
    """
    if isinstance(found, type) and issubclass(found, Mechanism):
        raise InvalidRequestError(f"{where}, a class", "an instance of it", "write NAME = Class() at the end")
    if not isinstance(found, Mechanism):
        raise InvalidRequestError(
            f"{where}, which is of type {type(found).__name__}",
            "a mechanism",
            "derive it from a family of verify.families",
        )
    for given, expected, remedy in _faults(found):
        raise InvalidRequestError(f"{where} {given}", expected, remedy)
    return found


def _faults(found: Any) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a declaration: given, expected, what to do.  Only the first is sure to be right."""
    for member in ("name", "description", "source"):
        text = getattr(found, member, None)
        if text is not None and not isinstance(text, str):
            yield f"with the {member} {text!r}", "text", "write it in quotes"
        if text is None or not text.strip():
            yield f"without {member}", "text", f"declare its {member}"
    if not _NAME.fullmatch(found.name):
        yield f"called {found.name!r}", "letters, digits, dashes and underscores, a letter first", "rename it"
    if type(found).__hash__ is None:
        yield "without a hash", "one, for it stands in tables", "write @dataclass(frozen=True), or no dataclass"
    if not isinstance(found.parameters, Mapping):
        yield f"with parameters of type {type(found.parameters).__name__}", "parameters by name", "make it a dict"
    for name, parameter in found.parameters.items():
        if not isinstance(name, str) or not name.isidentifier():
            yield f"with a parameter called {name!r}", "a name as in Python", "rename it"
        if not isinstance(parameter, Parameter):
            yield (
                f"with {name} of type {type(parameter).__name__}",
                "Whole, Real, Count, Choice or Flag",
                "take one of verify.arguments",
            )
    if found.axis is not None and not isinstance(found.parameters.get(found.axis), Whole):
        yield f"with the axis {found.axis!r}", "one of its parameters that are Whole, or None", "declare the parameter"
    if found.proposed is not None and found.axis is None:
        yield f"with {found.proposed} proposed", "an axis that has this value", "declare the axis"
    elif found.proposed is not None:
        try:
            found.parameters[found.axis].checked(found.axis, found.proposed)
        except InvalidRequestError as error:
            yield f"with {error.given} proposed", error.expected, "propose one of these"
    if found.formula_error not in (None, *FORMULA_ERRORS):
        yield f"with the formula error {found.formula_error!r}", " or ".join(FORMULA_ERRORS), "say which it is"
    if not isinstance(found.forms, tuple):
        yield f"with forms of type {type(found.forms).__name__}", "a tuple of Form", "write forms = (Form(...),)"
    for form in found.forms:
        if not isinstance(form, Form):
            yield f"with {form!r} among its forms", "each a Form", "write forms = (Form(...),)"
    names = [form.name for form in found.forms]
    if not names or len(set(names)) != len(names) or not all(map(_NAME.fullmatch, names)):
        yield f"with forms {names}", "at least one, each name once, of letters, digits and dashes", "name its forms"


def _foreign(found: Any, where: str) -> Mechanism:
    """Return what was found if it is a mechanism and does not claim to be what all are compared with."""
    mechanism = require_mechanism(found, where)
    if mechanism.formula_error is None:
        raise InvalidRequestError(f"{where} without a formula error", " or ".join(FORMULA_ERRORS), "say which it is")
    return mechanism


def _coming_from(mechanism: Mechanism, function: Any, *arguments: str) -> Mechanism:
    if mechanism.origin is None:  # otherwise it was only handed on
        object.__setattr__(mechanism, "origin", (function, arguments))  # it may be a frozen dataclass
    return mechanism


@cache
def executed(path: str, digest: str) -> ModuleType:
    """Return the module of a file.  What was hashed is what runs: no bytecode of another version is taken for it."""
    content = unchanged_content(path, digest)
    spec = importlib.util.spec_from_file_location(_module_name(digest), path)
    assert spec is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        with redirect_stdout(sys.stderr):
            exec(compile(content, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever somebody else's file raises
        del sys.modules[module.__name__]
        raise InvalidRequestError(
            f"{path}, which does not import ({reason_of(error, path)})", "a file that does", _remedy(error, path)
        ) from error
    return module


def _remedy(error: BaseException, path: str) -> str:
    """Return what to do about a file that does not import, which may miss what stands beside it."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    near = missing and any(Path(path).with_name(name).exists() for name in (missing, f"{missing}.py"))
    return f"write {missing} into it, or put its folder on PYTHONPATH" if near else "mend it"


def _module_name(digest: str) -> str:
    return f"attnproof_mechanism_{digest[:16]}"


def content_of(path: str) -> bytes:
    """Return what a file holds; InvalidRequestError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequestError(f"{path} cannot be read ({why})", "a Python file", "check the path") from error


def reason_of(error: BaseException, path: str = "") -> str:
    """Return an error in one line, with the last line of the file that led to it."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return text if not lines or isinstance(error, SyntaxError) else f"{text}, line {lines[-1]}"
