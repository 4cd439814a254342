"""Saved states: arrays and what they mean in one .npz file, without pickled objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.files.placing import place
from verify.files.reading import reading
from verify.numbers.formats import FORMATS

# Raise it when the meaning of a saved state changes.
VERSION = 2

_ABOUT = "about"


@dataclass(frozen=True)
class StateFile:
    """What a file holds: mechanism, settings, how far the state has come (seen: by head), and its arrays."""

    mechanism: str
    settings: dict[str, Any]
    tokens: int
    seen: tuple[bool, ...]
    lost: int
    arrays: dict[str, NDArray[Any]]


def write_state(state: StateFile, path: str | Path, overwrite: bool) -> None:
    """Write a state; InvalidRequestError for another ending or a file that cannot be written."""
    path = _checked_path(path)
    if path.suffix.lower() != ".npz":
        raise InvalidRequestError(f"file {str(path)!r} for a state", "an ending .npz", "name it so")
    about = {
        "version": VERSION,
        "mechanism": state.mechanism,
        "settings": state.settings,
        "tokens": state.tokens,
        "seen": list(state.seen),
        "lost": state.lost,
        "formats": {name: array.dtype.name for name, array in state.arrays.items()},
    }
    # numpy's own files lose the formats it does not know: bits and a name keep them
    members: dict[str, Any] = {name: array.view(_bits(array.dtype)) for name, array in state.arrays.items()}
    members[_ABOUT] = np.array(json.dumps(about, sort_keys=True))

    def write(file: BinaryIO) -> None:
        np.savez(file, **members)

    place(path, write, overwrite=overwrite)


def read_state(path: str | Path, mechanism: str, known: tuple[str, ...]) -> StateFile:
    """Read a state of a mechanism, with these settings and no others.

    Raises InvalidRequestError that says what is wrong with the file or with what it holds.
    """
    with reading(_checked_path(path)) as file, np.load(file, allow_pickle=False) as archive:
        members = {name: np.array(archive[name]) for name in archive.files} if _ABOUT in archive.files else {}
    try:
        about = json.loads(str(members.pop(_ABOUT)))
        version, found = about["version"], about["mechanism"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"{path}, which holds no state", "a file that save wrote", "check the path"
        ) from error
    for name, given, expected in (("version", version, VERSION), ("mechanism", found, mechanism)):
        if given != expected or type(given) is not type(expected):
            raise InvalidRequestError(
                f"{path} with a state of {name} {given!r}", f"{name} {expected!r}", "load it with what saved it"
            )
    try:
        settings = dict(about["settings"]) | {"lead": tuple(about["settings"]["lead"])}
        if set(settings) != set(known):
            raise ValueError(f"settings {', '.join(sorted(settings))}")
        arrays = {name: _restored(members.pop(name), format_) for name, format_ in about["formats"].items()}
        counts = about["tokens"], about["lost"]
        seen = tuple(about["seen"])
        if not all(type(flag) is bool for flag in seen):
            raise ValueError("heads that have neither seen anything nor nothing")
        if members or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("counts or arrays that no state has")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequestError(
            f"{path} with a damaged state ({type(error).__name__}: {error})", "a file that save wrote", "save it again"
        ) from error
    return StateFile(mechanism, settings, counts[0], seen, counts[1], arrays)


def _restored(bits: NDArray[Any], format_: str) -> NDArray[Any]:
    """Return the numbers of a format whose bits these are, whatever the byte order they were written in."""
    dtype = FORMATS[format_].dtype
    if bits.dtype.newbyteorder("=") != _bits(dtype):
        raise ValueError(f"an array of {bits.dtype} for {format_}")
    return bits.astype(_bits(dtype)).view(dtype)


def _bits(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{dtype.itemsize}")


def _checked_path(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise InvalidRequestError(f"path {path!r}", "text or a Path", "name a file")
    return Path(path)
