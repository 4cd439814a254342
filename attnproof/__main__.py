"""Start the command, whatever stands in the folder it is run in: a verify.py, cli.py or reports.py is not meant."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _Own:
    """Finds this distribution's own packages beside this one, before anything of the same name on the path."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in ("cli", "reports", "verify"):
            return None
        return PathFinder.find_spec(name, [str(Path(__file__).resolve().parents[1])], target)


sys.meta_path.insert(0, _Own)

from cli.main import main  # noqa: E402 - found in the right place only now

if __name__ == "__main__":
    # by its path a worker process runs this file again, which by `python -m`'s name it would not
    __spec__ = None
    sys.exit(main())
