"""The command that runs a failed case again, from any folder."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verify.check.run import Asked


def replay_command(asked: Asked, path: str) -> str:
    """Return the command that runs the case in a file again; what the file says of the check is not repeated."""
    from verify.mechanisms.registry import files_in

    said = ["--mechanism", _mechanism(asked.mechanism)] if files_in([asked.mechanism]) else []
    return _command(asked, ["--replay", str(Path(path).absolute()), *said])


def cases_command(asked: Asked, name: str) -> str:
    """Return the command that runs one case of another suite again, whose files are named by `asked.suite`."""
    from verify.check.run import Asked

    usual = Asked(asked.target)
    files = ",".join(str(Path(path).absolute()) for path in asked.suite.split(","))
    said = ["--cases", files, "--only", name]
    for setting in ("mechanism", "arithmetic", "layout", "scale"):
        value = getattr(asked, setting)
        if value != getattr(usual, setting):
            said += [f"--{setting}", _mechanism(value) if setting == "mechanism" else f"{value}"]
    said += [f"--{flag}" for flag in ("causal", "grouped") if getattr(asked, flag)]
    takes = ",".join(f"{role}={parameter}" for role, parameter in asked.takes.items())
    return _command(asked, [*said, *(["--takes", takes] if takes else [])])


def _command(asked: Asked, said: list[str]) -> str:
    """Return a command with what it says and where the function runs, as far as that is not as usual.

    A module is looked for in the folder that it was found in; all else is named by its whole path.
    """
    from verify.isolated.isolation import Target

    target, usual = asked.target, Target(asked.target.text)
    parts = ["attnproof", "check", _function(target.text), *said]
    parts += ["--framework", target.framework] if target.framework != usual.framework else []
    parts += ["--device", target.device] if target.device != usual.device else []
    parts += ["--python", _program(target.python)] if target.python != sys.executable else []
    parts += ["--timeout", f"{target.timeout:.15g}"] if target.timeout != usual.timeout else []
    if target.memory is not None and target.memory != usual.memory:
        parts += ["--memory", f"{target.memory / 2**30:.15g}"]
    command = shlex.join(parts)
    return f"cd {shlex.quote(str(Path.cwd()))} && {command}" if _stands_here(target.text) else command


def _function(text: str) -> str:
    """Return the text of a function with the whole path of its file."""
    where, colon, name = text.rpartition(":")
    return f"{Path(where).absolute()}{colon}{name}" if where.endswith(".py") else text


def _mechanism(text: str) -> str:
    """Return the text of a mechanism with the whole path of its file, if it is in one."""
    from verify.mechanisms.registry import files_in

    for named in files_in([text]):
        return _function(named) + text.removeprefix(named)
    return text


def _program(python: str) -> str:
    """Return an interpreter with its whole path, links kept; one that is looked for on the PATH as it is."""
    return str(Path(python).absolute()) if os.sep in python else python


def _stands_here(text: str) -> bool:
    """Say whether a function is one of a module that was found in the current folder."""
    where = text.rpartition(":")[0]
    top = where.partition(".")[0]
    return not where.endswith(".py") and (Path(top).is_dir() or Path(f"{top}.py").is_file())
