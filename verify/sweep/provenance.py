"""What a run ran on: code, versions, processor, linear algebra."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flint
import mpmath
from threadpoolctl import threadpool_info

import verify

_PACKAGES = ("attnproof", "numpy", "scipy", "mpmath", "gmpy2", "python-flint", "ml_dtypes", "threadpoolctl")


@cache
def code_digest() -> str:
    """Return the SHA-256 over the sources of `verify`: any change of the code makes new cells."""
    root = Path(verify.__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()


def machine() -> dict[str, Any]:
    """Return versions, processor and linear algebra library, without any path of the machine."""
    return {
        "code": code_digest(),
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version(), "FLINT": flint.__FLINT_VERSION__},
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
