"""Problems from files: .npz archives, three .npy files, .safetensors. Never pickle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.files.reading import reading
from verify.problem import Problem

SUFFIXES = (".npz", ".npy", ".safetensors")

_TRUTH_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class FileInput:
    """q, k and v from one .npz or .safetensors file, or from three .npy files in that order.

    keys: the names of q, k and v inside the file.  An entry "mask", boolean, is used if there is one.
    scale, causal, alignment: override what the file says (entries of that name in an .npz file, metadata of a
    .safetensors file); without either they are 1/sqrt(d_k), False and none.
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
        arrays, stated = self._read()
        scale = self.scale if self.scale is not None else _stated_scale(self.name, stated)
        causal = self.causal if self.causal is not None else _stated_causal(self.name, stated)
        alignment = self.alignment if self.alignment is not None else stated.get("alignment")
        q, k, v = (arrays[key] for key in self.keys)
        try:
            return Problem(q, k, v, scale, causal, arrays.get("mask"), alignment, name=self.name)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"in {self.name}: {error.given}", error.expected, error.remedy) from error

    def _read(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return the arrays, and what the file states about scale, causal and alignment, as text."""
        suffixes = {Path(path).suffix.lower() for path in self.paths}
        if suffixes == {".npy"} and len(self.paths) == 3:
            return dict(zip(self.keys, map(_read_npy, self.paths), strict=True)), {}
        if suffixes == {".npz"} and len(self.paths) == 1:
            return self._read_npz(self.paths[0])
        if suffixes == {".safetensors"} and len(self.paths) == 1:
            return self._read_safetensors(self.paths[0])
        raise InvalidRequestError(
            f"input {self.name!r}",
            "one .npz file, one .safetensors file, or three .npy files joined by commas (q,k,v)",
            "convert the file or check its ending",
        )

    def _read_npz(self, path: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        with reading(path) as file, np.load(file, allow_pickle=False) as archive:
            self._require_keys(path, archive.files)
            arrays = {key: archive[key] for key in (*self.keys, "mask") if key in archive.files}
            words = [key for key in ("scale", "causal", "alignment") if key in archive.files]
            stated = {key: _stated_text(path, key, archive[key]) for key in words}
            return arrays, stated

    def _read_safetensors(self, path: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        from safetensors import safe_open

        with reading(path), safe_open(path, "np") as archive:
            held = list(archive.keys())
            self._require_keys(path, held)
            wanted = [key for key in (*self.keys, "mask") if key in held]
            for key in wanted:
                self._require_numpy_type(path, key, archive.get_slice(key).get_dtype())
            return {key: archive.get_tensor(key) for key in wanted}, archive.metadata() or {}

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
    with reading(path) as file:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
        return array


def _stated_text(path: str, key: str, array: NDArray[Any]) -> str:
    """Return one value as text from which it comes back exactly."""
    if array.size != 1 or array.dtype.kind not in "biufU" or (array.dtype.itemsize > 8 and array.dtype.kind == "f"):
        raise InvalidRequestError(
            f"{key} of type {array.dtype} and shape {list(array.shape)} in {path}",
            "one number, truth value or word",
            "store it so; a number as float64",
        )
    return str(array.item())  # Python's float writes all digits of it; numpy's narrower types do not


def _stated_scale(path: str, stated: dict[str, str]) -> float | None:
    if "scale" not in stated:
        return None
    try:
        return float(stated["scale"])
    except ValueError:
        raise InvalidRequestError(
            f"scale {stated['scale']!r} in {path}", "a number", "correct it or give the scale"
        ) from None


def _stated_causal(path: str, stated: dict[str, str]) -> bool:
    word = stated.get("causal", "false")
    if word.lower() not in _TRUTH_WORDS:
        raise InvalidRequestError(f"causal {word!r} in {path}", "true or false", "correct it or say causal or not")
    return _TRUTH_WORDS[word.lower()]
