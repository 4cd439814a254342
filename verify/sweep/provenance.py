"""What a run ran on: code, versions, processor, linear algebra."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flint
import mpmath
import numpy as np
from threadpoolctl import threadpool_info

import verify

_PACKAGES = ("attnproof", "numpy", "scipy", "mpmath", "gmpy2", "python-flint", "ml_dtypes", "threadpoolctl")


@cache
def code_digest() -> str:
    """Return the SHA-256 over what computes a record: the sources of `verify`, the libraries, the kind of processor.

    Any change of these makes new cells: results of linear algebra differ between versions and processors.
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    root = Path(verify.__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    state.update(json.dumps([_versions(), _processor(), blas["name"], blas["version"]], sort_keys=True).encode())
    return state.hexdigest()


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _PACKAGES}
    return found | {"python": platform.python_version(), "FLINT": flint.__FLINT_VERSION__}


def machine() -> dict[str, Any]:
    """Return versions, processor and linear algebra library, without any path of the machine."""
    return {
        "code": code_digest(),
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
