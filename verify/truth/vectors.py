"""Reference vectors: inputs and certified outputs in one file, to test other implementations with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from verify.errors import InvalidRequestError
from verify.files.placing import place, require_placeable
from verify.inputs.roles import RESERVED
from verify.inputs.storing import stored
from verify.numbers.balls import in_base_two
from verify.problem import described
from verify.truth.decimals import decimals
from verify.truth.demands import Demand
from verify.truth.gradients import Gradients
from verify.truth.reference import Reference

# What numpy's writer of archives calls its own arguments.
_WRITERS_OWN = ("file", "allow_pickle")

Writer = Callable[[BinaryIO, dict[str, Any]], None]


@dataclass(frozen=True)
class More:
    """What a file of vectors may hold beside the exact output.

    gradients: for a dout.  demand: values rounded to a format, and what a test may demand.  rows: which queries of a
    longer problem these are.
    """

    gradients: Gradients | None = None
    demand: Demand | None = None
    rows: tuple[int, ...] | None = None


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidRequestError unless `write_vectors` can write there: to be asked before the exact values are."""
    _writer(path)
    require_placeable(path, overwrite=overwrite)


def write_vectors(truth: Reference, path: Path, more: More | None = None, *, overwrite: bool = False) -> None:
    """Write a problem and its exact output to a .npz or .json file; docs/files.md lists the members.

    The same truth gives the same bytes, in the same version.  Raises InvalidRequestError for another ending, a file
    that exists (unless overwritten) or cannot be written; nothing half-written is left.
    """
    writer = _writer(path)
    members = _members(truth, More() if more is None else more)
    place(path, lambda file: writer(file, members), overwrite=overwrite)


def _writer(path: Path) -> Writer:
    if not isinstance(path, Path):
        raise InvalidRequestError(f"{path!r} as the file to write", "a pathlib.Path", "give Path(...)")
    if path.suffix.lower() not in _WRITERS:
        raise InvalidRequestError(f"file {str(path)!r} to write", "an ending .npz or .json", "name it so")
    return _WRITERS[path.suffix.lower()]


def _members(truth: Reference, more: More) -> dict[str, Any]:
    """Return what a file holds, by name; a parameter whose name is another member's is told by `member` alone."""
    problem = truth.problem
    decimal, radius = decimals(truth.balls, truth.asked)
    named = {"mechanism": truth.member.of, "member": truth.member.name}
    others = {
        "attnproof_version": version("attnproof"),
        "digits": truth.digits,
        "digits_asked": truth.asked,
        "input": problem.name,
        "problem": described(problem),
        "digest": problem.digest,
        **stored(problem),
        "value": truth.value,
        "decimal": decimal,
        "radius": radius,
        "essentially_zero": truth.absolute,
        "normaliser_sign": truth.normaliser_sign,
        **_logarithms(truth),
        **_gradients(more.gradients),
        **_demand(more.demand),
        "rows": None if more.rows is None else np.array(more.rows, dtype=np.int64),
    }
    taken = {*named, *others, *_WRITERS_OWN, *RESERVED}
    return named | {name: value for name, value in truth.member.parameters if name not in taken} | others


def _logarithms(truth: Reference) -> dict[str, Any]:
    """Return the logarithms of sums of weights, natural and to base 2; minus infinity where nothing is added up."""
    found: dict[str, Any] = {}
    for name, base, balls in (("lse", None, truth.logs), ("lse2", 2, in_base_two(truth.logs))):
        texts, radius = decimals(balls, truth.asked)
        found[name] = truth.log_sum_exp(base)[0]
        found[f"{name}_decimal"] = np.where(truth.adds_up, texts, "-inf")
        found[f"{name}_radius"] = np.where(truth.adds_up, radius, 0.0)
    return found


def _gradients(gradients: Gradients | None) -> dict[str, Any]:
    if gradients is None:
        return {}
    found: dict[str, Any] = {"dout": gradients.dout, "gradient_digits": gradients.digits}
    for name, balls in gradients.balls.items():
        texts, radius = decimals(balls, gradients.asked)
        found |= {name: balls.value, f"{name}_decimal": texts, f"{name}_radius": radius}
        found[f"{name}_essentially_zero"] = gradients.absolute[name]
    return found


def _demand(demand: Demand | None) -> dict[str, Any]:
    if demand is None:
        return {}
    rounded = {"rounded": demand.value, "rounded_format": demand.format}
    if demand.sure is None:
        return rounded
    bounds = {"bound": demand.sure, "bound_probable": demand.probable}
    return {**rounded, **bounds, "bound_arithmetic": demand.arithmetic, "bound_form": demand.form}


def _write_npz(file: BinaryIO, given: dict[str, Any]) -> None:
    members: dict[str, Any] = {name: member for name, member in given.items() if member is not None}
    members["problem"] = json.dumps(members["problem"], allow_nan=False)
    np.savez_compressed(file, **members)


def _write_json(file: BinaryIO, members: dict[str, Any]) -> None:
    """Write one document; arrays are nested lists, infinity is "inf", and what is no number or not there is null."""
    for position, (name, member) in enumerate(members.items()):
        text = json.dumps(_plain(member), allow_nan=False)
        file.write(f"{',' if position else '{'}\n {json.dumps(name)}: {text}".encode())
    file.write(b"\n}\n")


_WRITERS: dict[str, Writer] = {".npz": _write_npz, ".json": _write_json}


def _plain(member: Any) -> Any:
    if isinstance(member, np.ndarray):
        plain = member.astype(object)
        if member.dtype == np.float64:
            plain[np.isnan(member)] = None
            plain[np.isinf(member)] = [str(value) for value in member[np.isinf(member)]]
        return plain.tolist()
    return member
