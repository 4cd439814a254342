"""Workloads of FlashInfer-Bench: sizes of a definition's axes, and where the numbers of its inputs come from.

The schema: docs/flashinfer-trace/workload.mdx of flashinfer-ai/flashinfer-bench.  Each line of a file is a trace whose
solution and evaluation are null.  Inputs are scalars, tensors of safetensors files, or random: N(0, 1), rounded to the
format, drawn with PCG64 at a seed made of the workload's uuid and the input's name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.check.foreign.definition import INTEGERS, Definition
from verify.check.foreign.json_files import lines, members, refused, size, text
from verify.errors import TooLargeError
from verify.inputs.reading import opened
from verify.numbers.formats import FORMATS

# Bytes that one input may take.
MOST_BYTES = 1 << 31

# Random numbers that are drawn at once.
_DRAWN = 1 << 20


@dataclass(frozen=True)
class Source:
    """Where an input comes from: a scalar's value; or the name of a tensor in a file; or neither, drawn at random."""

    value: float | None = None
    file: str = ""
    tensor: str = ""


@dataclass(frozen=True)
class Workload:
    """One workload of a definition: the size of every axis, and the source of every input."""

    where: str
    uuid: str
    definition: Definition
    sizes: Mapping[str, int]
    sources: Mapping[str, Source]

    @cached_property
    def whole(self) -> dict[str, NDArray[np.int64]]:
        """The inputs of integers, which say where queries and keys are."""
        return {
            name: self.array(name).astype(np.int64)
            for name, tensor in self.definition.inputs.items()
            if tensor.dtype in INTEGERS
        }

    @property
    def scale(self) -> float:
        """The factor of logits."""
        value = self.sources["sm_scale"].value
        assert value is not None, "scalars are checked to have a value"
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input."""
        return tuple(self.sizes[axis] for axis in self.definition.inputs[name].axes or ())

    def part(self, part: str) -> int:
        """Return the size of a part of shapes, as heads."""
        return next(
            self.sizes[axis]
            for tensor in self.definition.inputs.values()
            for axis, own in zip(tensor.axes or (), tensor.parts, strict=True)
            if own == part
        )

    def array(self, name: str) -> NDArray[Any]:
        """Return an input that is an array, in its format."""
        source, tensor = self.sources[name], self.definition.inputs[name]
        shape, where = self.shape(name), f"{name} of {self.where}"
        if not source.file:
            return self._drawn(name, shape)
        with opened((source.file,)) as archive:
            found = archive.entry(source.tensor) if source.tensor in archive.names else None
        if not isinstance(found, np.ndarray):
            raise refused(where, f"no tensor {source.tensor!r} in {source.file}", "one of its tensors")
        if found.dtype.name != tensor.dtype or found.shape != shape:
            raise refused(where, f"{found.dtype.name} {list(found.shape)}", f"{tensor.dtype} {list(shape)}")
        return found

    def _drawn(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        format_ = FORMATS[self.definition.inputs[name].dtype]
        seed = hashlib.sha256(f"{self.uuid}\0{name}".encode()).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "little")))
        found = np.empty(math.prod(shape), format_.dtype)
        for first in range(0, len(found), _DRAWN):
            some = found[first : first + _DRAWN]
            some[...] = format_.rounded(rng.standard_normal(len(some)))
        return found.reshape(shape)


def workloads(path: str, own: Definition) -> list[Workload]:
    """Return the workloads that a file holds; InvalidRequestError for what is not one of the definition."""
    found = list(_workloads(path, own))
    names = [workload.uuid for workload in found]
    if not found:
        raise refused(path, "no workload", "one on each line", "name another file")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refused(path, f"uuid {twice!r} twice", "each once")
    return found


def _workloads(path: str, own: Definition) -> Iterator[Workload]:
    for where, line in lines(path):
        trace = members(where, line, ("definition", "workload"), ("solution", "evaluation"))
        if trace["definition"] != own.name:
            raise refused(where, f"definition {trace['definition']!r:.60}", repr(own.name), "name the file that fits")
        if trace.get("solution") is not None or trace.get("evaluation") is not None:
            raise refused(where, "a solution or an evaluation", "null for both", "name a file of workloads alone")
        found = members(f"workload in {where}", trace["workload"], ("uuid", "axes", "inputs"))
        uuid = text(f"uuid in {where}", found["uuid"])
        sizes = _sizes(where, found["axes"], own)
        sources = members(f"inputs in {where}", found["inputs"], tuple(own.inputs))
        read = {name: _source(f"{name} in {where}", path, own, name, sources[name]) for name in own.inputs}
        workload = Workload(where, uuid, own, sizes, read)
        _require_room(workload)
        yield workload


def _sizes(where: str, found: Any, own: Definition) -> dict[str, int]:
    used = {axis for tensor in own.inputs.values() for axis in tensor.axes or ()}
    variable = [name for name, value in own.axes.items() if value is None]
    given = members(
        f"axes in {where}", found, [a for a in variable if a in used], [a for a in variable if a not in used]
    )
    sizes = {name: size(f"axis {name} in {where}", value) for name, value in given.items()}
    return {**{name: value for name, value in own.axes.items() if value is not None}, **sizes}


def _source(where: str, path: str, own: Definition, name: str, found: Any) -> Source:
    kinds: dict[str, tuple[str, ...]] = {"random": (), "scalar": ("value",), "safetensors": ("path", "tensor_key")}
    kind = found.get("type") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise refused(where, f"type {kind!r:.60}", ", ".join(kinds))
    given = members(where, found, ("type", *kinds[kind]))
    tensor = own.inputs[name]
    if (kind == "scalar") != (tensor.axes is None):
        raise refused(where, kind, "scalar" if tensor.axes is None else "random or safetensors")
    if kind == "scalar":
        value = given["value"]
        if type(value) not in (int, float) or not math.isfinite(value):
            raise refused(where, f"value {value!r:.60}", "a finite number")
        return Source(value=float(value))
    if kind == "random":
        if tensor.dtype in INTEGERS:
            raise refused(where, "random integers, which would be no places of keys", "safetensors", "store them")
        return Source()
    file = text(f"path of {where}", given["path"])
    if not file.endswith(".safetensors"):
        raise refused(where, f"path {file[:60]!r}", "a .safetensors file", "store it so")
    return Source(file=str(_root(path) / file), tensor=text(f"tensor_key of {where}", given["tensor_key"]))


def _root(path: str) -> Path:
    """Return the folder that paths in a file of workloads start from: above `workloads`, where it stands in one."""
    folder = Path(path).absolute().parent
    above = [own.parent for own in (folder, *folder.parents) if own.name == "workloads"]
    return above[0] if above else folder


def _require_room(workload: Workload) -> None:
    for name, tensor in workload.definition.inputs.items():
        width = FORMATS[tensor.dtype].dtype.itemsize if tensor.dtype in FORMATS else 8
        if math.prod(workload.shape(name)) * width > MOST_BYTES:
            raise TooLargeError(
                f"{workload.where}: {name} of {list(workload.shape(name))}",
                f"{MOST_BYTES >> 30} GiB at most",
                "take a smaller workload",
            )
