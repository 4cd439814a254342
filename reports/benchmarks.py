"""What `make bench` measured, as a table: medians with their spread, beside machine and threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from reports.text import Table, number_text
from verify.errors import InvalidRequestError
from verify.files.reading import reading
from verify.integers import how_many

VERSION = 1


@dataclass(frozen=True)
class Benchmarks:
    """The table, and what it was measured on."""

    table: Table
    facts: Sequence[tuple[str, str]]


def load_benchmarks(path: Path) -> Benchmarks:
    """Read the file that `make bench` writes; InvalidRequestError if it is not one."""
    with reading(path) as file:
        text = file.read()
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r}")
        rows = [_row(each) for each in document["measurements"]]
        facts = _facts(document["machine"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(
            f"{path}, which holds no benchmarks ({type(error).__name__}: {error})",
            f"a file of version {VERSION} that make bench wrote",
            "run make bench again",
        ) from error
    columns = ["what", "median", "least", "most", "turns", "unit", "BLAS threads", "times", "bound", ""]
    return Benchmarks(Table(columns, rows), facts)


def _row(measurement: dict[str, Any]) -> list[str]:
    if not isinstance(measurement["values"], list):
        raise ValueError("values that are no list")
    values = [float(value) for value in measurement["values"]]
    times = [f"{number_text(median(map(float, seconds)))} s" for seconds in measurement["times"].values()]
    return [
        str(measurement["name"]),
        number_text(median(values)),
        number_text(min(values)),
        number_text(max(values)),
        str(len(values)),
        str(measurement["unit"]),
        str(int(measurement["threads"])),
        " / ".join(times),
        str(measurement["bound"]),
        "holds" if within(values, str(measurement["bound"])) else "missed",
    ]


def within(values: Sequence[float], bound: str) -> bool:
    """Return whether the median of values is within "at least x" or "at most x"; no value may be NaN or infinite."""
    kind, _, limit = bound.rpartition(" ")
    if kind not in ("at least", "at most"):
        raise ValueError(f"bound {bound!r}")
    if not all(map(isfinite, values)):
        return False
    return median(values) >= float(limit) if kind == "at least" else median(values) <= float(limit)


def _facts(machine: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {number}" for name, number in sorted(machine["versions"].items()))
    processor = (
        f"{machine['processor']} ({machine['machine']}, {machine['system']}), {how_many(int(machine['cores']), 'core')}"
    )
    return [("processor", processor), ("versions", versions), ("linear algebra", json.dumps(machine["linear_algebra"]))]
