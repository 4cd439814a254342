"""What input files hold, entry by entry: .npz archives, three .npy files, .safetensors. Never pickle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.files.reading import reading

# An array, or a text of a safetensors file's metadata.
Entry = NDArray[Any] | str

_KINDS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "BOOL": np.bool_,
    **{f"{sign}{bits}": np.dtype(f"{sign.lower()}{bits // 8}") for sign in "IU" for bits in (8, 16, 32, 64)},
}

_TORCH = (".pt", ".pth", ".bin")

_CONVERT = "store tensors: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')"


@dataclass(frozen=True)
class Archive:
    """An open input: the names of what it holds, and a function that reads one of them."""

    names: Sequence[str]
    entry: Callable[[str], Entry]


@contextmanager
def opened(paths: Sequence[str]) -> Iterator[Archive]:
    """Open one .npz or .safetensors file, or three .npy files; InvalidRequestError says what is wrong with them."""
    name = ",".join(paths)
    suffixes = {Path(path).suffix.lower() for path in paths}
    if suffixes == {".npy"} and len(paths) == 3:
        parts = dict(zip("qkv", paths, strict=True))
        yield Archive(tuple(parts), lambda role: _read_npy(parts[role]))
    elif suffixes == {".npz"} and len(paths) == 1:
        with reading(name) as file, _without_pickle(name), np.load(file, allow_pickle=False) as archive:
            _require_single(name, archive.files)
            if any(Path(held).name == "data.pkl" for held in archive.files):
                raise _pickled(name)
            yield Archive(archive.files, lambda held: _array_in(name, held, archive))
    elif suffixes == {".safetensors"} and len(paths) == 1:
        with reading(name) as file:
            held = _safetensors(name, file)
            yield Archive(tuple(held), lambda role: _tensor(name, role, held[role]))
    elif suffixes & set(_TORCH):
        raise InvalidRequestError(f"input {name!r}, which holds pickled objects", "arrays without them", _CONVERT)
    else:
        raise InvalidRequestError(
            f"input {name!r}",
            "one .npz file, one .safetensors file, or three .npy files joined by commas (q,k,v)",
            "convert the file or check its ending",
        )


def _read_npy(path: str) -> NDArray[Any]:
    with reading(path) as file, _without_pickle(path):
        array: NDArray[Any] = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise InvalidRequestError(f"{path}, which is an archive", "one array", "check its ending")
        return array


def _array_in(path: str, name: str, archive: Mapping[str, Any]) -> NDArray[Any]:
    array = archive[name]
    if not isinstance(array, np.ndarray):  # numpy hands out as bytes what it did not write
        raise InvalidRequestError(
            f"{name} in {path}, which is no array", "arrays", f"--ignore {name}, or store it anew"
        )
    return array


def _require_single(path: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InvalidRequestError(f"{path} with {', '.join(twice)} twice", "each name once", "store the file anew")


@contextmanager
def _without_pickle(path: str) -> Iterator[None]:
    """Say in our words what numpy says of pickled objects, and of anything else that is no array; a warning is one."""
    try:
        with warnings.catch_warnings(action="error"):
            yield
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise _pickled(path) from error
        raise


def _pickled(path: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path} cannot be read (pickled objects, or no file of numpy)", "arrays without pickled objects", _CONVERT
    )


def _safetensors(path: str, file: BinaryIO) -> dict[str, Any]:
    """Return tensors as the library describes them, and texts of the metadata, by name."""
    from safetensors import deserialize

    content = file.read()
    tensors = deserialize(content)  # type: ignore[no-untyped-call]  # checks the file; has no annotations
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size], object_pairs_hook=lambda members: _once(path, members))
    texts = header.get("__metadata__", {})
    _require_single(path, [*texts, *(name for name, _ in tensors)])
    return {**texts, **dict(tensors)}


def _once(path: str, members: list[tuple[str, Any]]) -> dict[str, Any]:
    _require_single(path, [name for name, _ in members])
    return dict(members)


def _tensor(path: str, name: str, tensor: Any) -> Entry:
    if isinstance(tensor, str):
        return tensor
    kind = tensor["dtype"]
    if kind not in _KINDS:
        raise InvalidRequestError(f"{name} of type {kind} in {path}", f"one of {', '.join(_KINDS)}", "convert it")
    raw = np.frombuffer(tensor["data"], dtype=np.uint8)
    if kind == "BOOL" and (raw > 1).any():
        raise InvalidRequestError(f"{name} in {path} with truth values other than 0 and 1", "booleans", "store it anew")
    array: NDArray[Any] = raw.view(_KINDS[kind]).reshape(tensor["shape"])
    return array
