"""A case that failed, in a file: its problem and how the function was called, to be run again elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO

import numpy as np

from verify.arguments import exact_float64
from verify.check.checking import CaseResult
from verify.check.run import Asked
from verify.check.suite import CASES, Case
from verify.errors import InvalidRequestError
from verify.files.placing import place
from verify.inputs import FileInput
from verify.inputs.reading import opened
from verify.inputs.stated import word
from verify.inputs.storing import stored
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# The entry of a file that says how the function was called.
_ENTRY = "attnproof_check"

# The settings that are kept, and what each may be; of which values, whoever uses them says.
_SETTINGS: dict[str, tuple[type, ...]] = {
    "mechanism": (str,),
    "arithmetic": (str,),
    "layout": (str,),
    "causal": (bool,),
    "grouped": (bool,),
    "scale": (float, int, NoneType),
    "takes": (dict,),
    "backward": (bool,),
}


@dataclass(frozen=True, eq=False)
class Replay:
    """A case with its problem, and the settings of the check that it failed in, by name; dout: of gradients."""

    case: Case
    problem: Problem
    settings: Mapping[str, Any]
    dout: Float64Array | None = None


def replay_name(result: CaseResult) -> str:
    """Return the name of a file for a case."""
    return re.sub(r"[^a-z0-9]+", "-", result.name.lower()).strip("-") + ".npz"


def write_replay(result: CaseResult, asked: Asked, path: Path, *, overwrite: bool = False) -> None:
    """Write a case that failed to a file; InvalidRequestError if there is one of that name, or it cannot be written."""
    problem = result.problem
    assert problem is not None, "a case without a problem has nothing to run again"
    settings = {"case": result.name} | {name: getattr(asked, name) for name in _SETTINGS}
    members = {name: part for name, part in stored(problem).items() if part is not None}
    members |= {} if result.dout is None else {"dout": result.dout}

    def write(file: BinaryIO) -> None:
        np.savez_compressed(file, **{**members, _ENTRY: np.array(json.dumps(settings))})

    place(path, write, overwrite=overwrite)


def read_replay(path: Path) -> Replay:
    """Return what a file of `write_replay` holds; InvalidRequestError for any other file."""
    with opened((str(path),)) as archive:
        if _ENTRY not in archive.names:
            raise InvalidRequestError(f"{path} without {_ENTRY}", "a file that a check has written", "name another")
        text = word(_ENTRY, archive.entry(_ENTRY))
        dout = exact_float64("dout", archive.entry("dout")) if "dout" in archive.names else None
    try:
        settings = json.loads(text)
        name = settings.pop("case")
        known = {case.name: case for case in CASES}
        case = known.get(name) or Case(name, "read from a file", (), lambda kit: problem)
        kept = {key: settings[key] for key in _SETTINGS if key in settings}
        strange = [key for key, value in kept.items() if type(value) not in _SETTINGS[key]]
        if strange:
            raise ValueError(strange[0])
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequestError(
            f"{path} with {_ENTRY} {text[:60]!r}", "what a check writes", "write it anew"
        ) from error
    problem = FileInput((str(path),), ignore=(_ENTRY,)).load().named(name)
    return Replay(case, problem, kept, dout)
