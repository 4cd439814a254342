"""Names of a package whose modules are imported when a name is first used, as PEP 562 has it.

Importing a package then costs nothing, and whoever reads a run file needs no arithmetic in balls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_use(
    package: str, homes: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    homes: the module, in the package, that has a name.  modules: the module that a name stands for.  A name may not be
    that of a module of the package: once imported, the module would stand in its place.
    """
    whole = modules or {}

    def attribute(name: str) -> Any:
        if name in whole:
            return import_module(f"{package}.{whole[name]}")
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        own = {name for name in vars(sys.modules[package]) if name.startswith("__")}
        return sorted({*own, *homes, *whole})

    return attribute, listed
