"""Problems from files: .npz archives, three .npy files, .safetensors. Never pickle."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.problem import Problem

SUFFIXES = (".npz", ".npy", ".safetensors")

_TRUTH_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class FileInput:
    """q, k and v from one .npz or .safetensors file, or from three .npy files in that order.

    keys: the names of q, k and v inside the file.  An entry "mask", boolean, is used if there is one.
    scale, causal: override what the metadata of a .safetensors file says; otherwise 1/sqrt(d_k) and False.
    """

    paths: tuple[str, ...]
    keys: tuple[str, str, str] = ("q", "k", "v")
    scale: float | None = None
    causal: bool | None = None
    alignment: str | None = None
    kind: str = field(default="file", init=False)
    logit_std: float | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The path, or the three paths joined by commas."""
        return ",".join(self.paths)

    def load(self) -> Problem:
        """Read the arrays; InvalidRequestError says what is wrong with the file or with what it holds."""
        arrays, metadata = self._read()
        scale = self.scale if self.scale is not None else _metadata_scale(self.name, metadata)
        causal = self.causal if self.causal is not None else _metadata_causal(self.name, metadata)
        q, k, v = (arrays[key] for key in self.keys)
        return Problem(
            q, k, v, scale=scale, causal=causal, mask=arrays.get("mask"), alignment=self.alignment, name=self.name
        )

    def _read(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        suffixes = {Path(path).suffix for path in self.paths}
        if suffixes == {".npy"} and len(self.paths) == 3:
            return dict(zip(self.keys, map(_read_npy, self.paths), strict=True)), {}
        if suffixes == {".npz"} and len(self.paths) == 1:
            return self._read_npz(self.paths[0]), {}
        if suffixes == {".safetensors"} and len(self.paths) == 1:
            return self._read_safetensors(self.paths[0])
        raise InvalidRequestError(
            f"input {self.name!r}",
            "one .npz file, one .safetensors file, or three .npy files joined by commas (q,k,v)",
            "convert the file or check its ending",
        )

    def _read_npz(self, path: str) -> dict[str, NDArray[Any]]:
        try:
            # numpy leaves the file open when it turns out not to be an archive
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                self._require_keys(path, archive.files)
                return {key: archive[key] for key in (*self.keys, "mask") if key in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(path, error) from error

    def _read_safetensors(self, path: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as archive:
                held = list(archive.keys())
                self._require_keys(path, held)
                wanted = [key for key in (*self.keys, "mask") if key in held]
                for key in wanted:
                    self._require_numpy_type(path, key, archive.get_slice(key).get_dtype())
                return {key: archive.get_tensor(key) for key in wanted}, archive.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from error

    def _require_keys(self, path: str, held: list[str]) -> None:
        missing = [key for key in self.keys if key not in held]
        if missing:
            raise InvalidRequestError(
                f"{path} without {', '.join(missing)}: it holds {', '.join(sorted(held)) or 'nothing'}",
                f"arrays named {', '.join(self.keys)}",
                "name the arrays to read in the order q, k, v",
            )

    @staticmethod
    def _require_numpy_type(path: str, key: str, kind: str) -> None:
        known = ("F64", "F32", "F16", "BF16", "BOOL")
        if kind not in known:
            raise InvalidRequestError(f"{key} of type {kind} in {path}", f"one of {', '.join(known)}", "convert it")


def _read_npy(path: str) -> NDArray[Any]:
    try:
        with Path(path).open("rb") as file:
            array: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    return array


def _unreadable(path: str, error: Exception) -> InvalidRequestError:
    if isinstance(error, FileNotFoundError):
        return InvalidRequestError(f"no file {path}", "an existing file", "check the path")
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidRequestError(
        f"{path} cannot be read ({why})", "numeric arrays without pickled objects", "check that the file is whole"
    )


def _metadata_scale(path: str, metadata: dict[str, str]) -> float | None:
    if "scale" not in metadata:
        return None
    try:
        return float(metadata["scale"])
    except ValueError:
        raise InvalidRequestError(
            f"scale {metadata['scale']!r} in the metadata of {path}", "a number", "correct it or give the scale"
        ) from None


def _metadata_causal(path: str, metadata: dict[str, str]) -> bool:
    word = metadata.get("causal", "false")
    if word.lower() not in _TRUTH_WORDS:
        raise InvalidRequestError(
            f"causal {word!r} in the metadata of {path}", "true or false", "correct it or say causal or not"
        )
    return _TRUTH_WORDS[word.lower()]
