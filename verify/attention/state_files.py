"""Saved states: arrays and what they mean in one .npz file, without pickled objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.formats import FORMATS
from verify.placing import place
from verify.reading import reading

# Raise it when the meaning of a saved state changes.
VERSION = 1

_ABOUT = "about"


@dataclass(frozen=True)
class StateFile:
    """What a file holds: the mechanism, the settings of the state, how far it has come, and its arrays."""

    mechanism: str
    settings: dict[str, Any]
    tokens: int
    lost: int
    arrays: dict[str, NDArray[Any]]


def write_state(state: StateFile, path: str | Path, overwrite: bool) -> None:
    """Write a state; InvalidRequestError for another ending or a file that cannot be written."""
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InvalidRequestError(f"file {str(path)!r} for a state", "an ending .npz", "name it so")
    about = {
        "version": VERSION,
        "mechanism": state.mechanism,
        "settings": state.settings,
        "tokens": state.tokens,
        "lost": state.lost,
        "formats": {name: array.dtype.name for name, array in state.arrays.items()},
    }
    # numpy's own files lose the formats it does not know: bits and a name keep them
    members: dict[str, Any] = {name: array.view(f"u{array.dtype.itemsize}") for name, array in state.arrays.items()}
    members[_ABOUT] = np.array(json.dumps(about, sort_keys=True))

    def write(file: BinaryIO) -> None:
        np.savez(file, **members)

    place(path, write, overwrite=overwrite)


def read_state(path: str | Path, mechanism: str) -> StateFile:
    """Read a state of a mechanism; InvalidRequestError says what is wrong with the file or with what it holds."""
    with reading(path) as file, np.load(file, allow_pickle=False) as archive:
        members = {name: np.array(archive[name]) for name in archive.files} if _ABOUT in archive.files else {}
    try:
        about = json.loads(str(members.pop(_ABOUT)))
        version, found = about["version"], about["mechanism"]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"{path}, which holds no state", "a file that save wrote", "check the path"
        ) from error
    for name, given, expected in (("version", version, VERSION), ("mechanism", found, mechanism)):
        if given != expected:
            raise InvalidRequestError(
                f"{path} with a state of {name} {given!r}", f"{name} {expected!r}", "load it with what saved it"
            )
    try:
        settings = dict(about["settings"]) | {"lead": tuple(about["settings"]["lead"])}
        arrays = {name: members.pop(name).view(FORMATS[format_].dtype) for name, format_ in about["formats"].items()}
        counts = about["tokens"], about["lost"]
        if members or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("counts or arrays that no state has")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequestError(
            f"{path} with a damaged state ({type(error).__name__}: {error})", "a file that save wrote", "save it again"
        ) from error
    return StateFile(mechanism, settings, *counts, arrays)
