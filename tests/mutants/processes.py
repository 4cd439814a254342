"""Work in processes of their own, which see a copy of the project instead of the project."""

from __future__ import annotations

import compileall
import multiprocessing
import os
import py_compile
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class CrashedError(Exception):
    """The process ended without an answer."""


def copied(root: Path, copy: Path) -> None:
    """Make the copy anew; its compiled code holds for the texts it was made from, whatever their times."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info"))
    compileall.compile_dir(copy, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def apart(copy: Path, limit: float | None, work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a process in the copy; None if that takes more than `limit` seconds.

    Results are plain: the process has none of this one's modules of the project.
    """
    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_enter, args=(ours, theirs, copy, work, *arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(limit) else None
    except EOFError:
        raise CrashedError from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        process.kill()
        process.join()
        ours.close()


def _enter(ours: Connection, theirs: Connection, copy: Path, work: Callable[..., Any], *arguments: Any) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ours.close()  # or nobody would notice that the other side has gone
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # a change may ask for any amount
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with copy.with_name("output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    packages = {path.name for path in copy.iterdir() if path.is_dir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    os.chdir(copy)
    result = work(*arguments)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in packages and file:
            assert Path(file).is_relative_to(copy), f"{name} is {file}"
    theirs.send(result)
    os._exit(0)
