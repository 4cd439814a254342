"""Runs for tests of reports: measured, and edited as a stranger might."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from reports.text import Table
from tests.run_files import rewrite
from verify.inputs import InputSource, SyntheticInput
from verify.mechanisms.registry import known
from verify.parallel.executors import InProcessExecutor
from verify.sweep import RunFile, SweepSpec, run_sweep

Edit = Callable[[dict[str, Any]], dict[str, Any]]


def swept(
    path: Path,
    plans: Sequence[str],
    *,
    inputs: Sequence[InputSource] = (SyntheticInput("normal", 4, 12),),
    orders: Sequence[int] = (0, 1, 3),
    arithmetics: Sequence[str] = ("float64", "float32"),
) -> Path:
    """Return a run file in which these forms of mechanisms were measured."""
    spec = SweepSpec(tuple(inputs), tuple(known().plans(plans)), tuple(orders), tuple(arithmetics))
    run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command="x")
    return path


def edited(
    source: Path, target: Path, name: str, *, descriptor: Edit = lambda old: old, record: Edit = lambda old: old
) -> Path:
    """Return a copy of a run file in which what it says of a mechanism is another thing."""
    shutil.copy(source, target)
    with closing(sqlite3.connect(target)) as run, run:
        for session, text in run.execute(
            "SELECT session, descriptor FROM mechanism WHERE name = ?", (name,)
        ).fetchall():
            found = descriptor(json.loads(text))
            values = (found["name"] if isinstance(found.get("name"), str) else name, json.dumps(found), session, name)
            run.execute("UPDATE mechanism SET name = ?, descriptor = ? WHERE session = ? AND name = ?", values)
    rewrite(target, lambda document: record(document) if document["mechanism"] == name else document)
    return target


def renamed(source: Path, target: Path, old: str, new: str, axis: str | None = None) -> Path:
    """Return a copy of a run file in which a mechanism, and its axis, have other names."""

    def described(about: dict[str, Any]) -> dict[str, Any]:
        own = axis or about["axis"]
        parameters = [own if name == about["axis"] else name for name in about["parameters"]]
        return about | {"name": new, "axis": own, "parameters": parameters}

    def recorded(cell: dict[str, Any]) -> dict[str, Any]:
        labels = {
            (axis or label) if place == 0 else label: value
            for place, (label, value) in enumerate(cell["labels"].items())
        }
        own = ",".join(f"{label}={value}" for label, value in labels.items())
        named = {"mechanism": new, "member": f"{new}:{own}"}
        counts = None if cell["counts"] is None else cell["counts"] | named
        return cell | named | {"labels": labels, "counts": counts}

    edited(source, target, old, descriptor=described, record=recorded)
    with closing(sqlite3.connect(target)) as run, run:
        for session, text in run.execute("SELECT id, provenance FROM session").fetchall():
            found = json.loads(text)
            cells = found["spec"]["cells"]
            found["spec"]["cells"] = [re.sub(f"^{old}(?=[:/])", lambda _: new, cell) for cell in cells]
            run.execute("UPDATE session SET provenance = ? WHERE id = ?", (json.dumps(found), session))
    return target


def cells_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def rows(table: Table) -> list[dict[str, str]]:
    """Return the rows of a table by column."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
