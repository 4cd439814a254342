"""What a run ran on: code, versions, processor, linear algebra."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

import flint
import mpmath
import numpy as np
from threadpoolctl import threadpool_info

import verify
from verify.attention.contract import Mechanism
from verify.errors import InvalidRequestError
from verify.mechanisms.loading import file_of, home_of, unchanged_content
from verify.mechanisms.registry import baseline, null_prediction

_PACKAGES = ("attnproof", "numpy", "scipy", "mpmath", "gmpy2", "python-flint", "ml_dtypes", "threadpoolctl")

# What makes a record of a cell, and what a record is: with all they import, the engines that every cell runs.
_ENGINES = ("verify.sweep.inputwork", "verify.sweep.tasks", "verify.sweep.record")


@cache
def code_digest(mechanism: Mechanism) -> str:
    """Return the SHA-256 over what computes a record of a mechanism: sources, libraries, the kind of processor.

    Any change of these makes new cells: results of linear algebra differ between versions and processors.  Raises
    InvalidRequestError if the mechanism's file has changed since it was loaded.
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    state = hashlib.sha256()
    for name, content in sorted(sources(mechanism).items()):
        state.update(name.encode() + b"\0" + content + b"\0")
    about = [_versions(), _processor(), blas["name"], blas["version"], _distributions(mechanism)]
    state.update(json.dumps(about, sort_keys=True).encode())
    return state.hexdigest()


def sources(mechanism: Mechanism) -> dict[str, bytes]:
    """Return, by module, the sources that a record of a mechanism comes from: engines, baselines and its own.

    They are found by following imports within this package, the packages of the mechanism's classes, and, of a
    mechanism in a file that was named, its folder.  Raises InvalidRequestError if a class stands in no file, or the
    file that was named has changed since it was loaded.
    """
    own = _own_modules(mechanism)
    path, digest = file_of(mechanism) or (None, "")
    near = {name.partition(".")[0] for name in own} | {"verify"}
    waiting = [*_ENGINES, *own]
    for always in (baseline().member, null_prediction()):
        waiting += _own_modules(always.mechanism)
    beside = cache(partial(_beside, path=path))
    followed: set[str] = set()
    contents: dict[str, bytes] = {}
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in followed or not (top in near or beside(top)):
            continue
        followed.add(name)
        file = _file(name)
        if file is not None:  # otherwise it is no module, but something in one
            source = unchanged_content(path, digest) if str(file) == path else file.read_bytes()
            contents |= {name: source} | _packages(name)
            waiting += _imported(name, file.name == "__init__.py", source if file.suffix == ".py" else b"")
        elif name in own:
            raise InvalidRequestError(
                f"the mechanism {mechanism.name}, whose source is in no file",
                "a file, so that cells are measured again when it changes",
                "write it into one, and name it as FILE.py:NAME",
            )
    return contents


def _own_modules(mechanism: Mechanism) -> list[str]:
    """Return the modules that a mechanism's classes stand in, and the one where it was found."""
    classes = (kind.__module__ for kind in type(mechanism).__mro__ if issubclass(kind, Mechanism))
    return list(dict.fromkeys([home_of(mechanism), *classes]))


def _beside(top: str, path: str | None) -> bool:
    """Say whether a module or package that is in no other stands beside a file."""
    file = getattr(sys.modules.get(top), "__file__", None)
    return path is not None and file is not None and Path(path).parent in Path(file).resolve().parents[:2]


def _file(name: str) -> Path | None:
    """Return the file of a module; None if there is no such module, or none that has a file."""
    if name in sys.modules:
        found = getattr(sys.modules[name], "__file__", None)
    else:
        try:
            spec = find_spec(name)
        except ModuleNotFoundError:  # what it is said to be in is not a package
            spec = None
        found = None if spec is None else spec.origin
    path = None if found is None else Path(found)
    return path if path is not None and path.is_file() else None


def _packages(name: str) -> dict[str, bytes]:
    """Return the sources of the packages that a module is in: they run, but what they import is not its business."""
    parents = [name[:i] for i, c in enumerate(name) if c == "."]
    files = {parent: _file(parent) for parent in parents}
    return {parent: file.read_bytes() for parent, file in files.items() if file is not None}


@cache
def _imported(name: str, package: bool, source: bytes) -> tuple[str, ...]:
    """Return the modules that a module imports when it runs; some may be no modules."""
    inside = name if package else name.rpartition(".")[0]
    found = []
    for statement in _statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            found += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            module = resolve_name("." * statement.level + (statement.module or ""), inside)
            found += [module, *(f"{module}.{alias.name}" for alias in statement.names)]
    if "verify" in found:  # its names are loaded when first used
        found += [getattr(verify, public).__module__ for public in verify.__all__]
    return tuple(dict.fromkeys(found))


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements but those for type checkers only."""
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        children = iter(node.orelse)
    for child in children:
        if isinstance(child, ast.stmt):
            yield child
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _statements(child)


def _distributions(mechanism: Mechanism) -> list[str]:
    """Return name and version of the distributions that brought a mechanism's packages, but for this one."""
    own = {"verify"} if file_of(mechanism) is None else {"verify", home_of(mechanism)}
    tops = {name.partition(".")[0] for name in _own_modules(mechanism)} - own
    found = packages_distributions() if tops else {}
    return [f"{name} {version(name)}" for name in sorted({name for top in tops for name in found.get(top, ())})]


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _PACKAGES}
    return found | {"python": platform.python_version(), "FLINT": flint.__FLINT_VERSION__}


def machine() -> dict[str, Any]:
    """Return versions, processor and linear algebra library, without any path of the machine."""
    return {
        "code": code_digest(baseline().member.mechanism),
        "versions": _versions(),
        "mpmath_backend": mpmath.libmp.BACKEND,
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "linear_algebra": [
            {key: library.get(key) for key in ("internal_api", "version", "architecture", "threading_layer")}
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ],
        "linear_algebra_threads": 1,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
