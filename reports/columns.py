"""Data frames as CSV files, column by column: a hundred thousand rows take seconds."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.cells import NESTED
from reports.places import Places
from reports.text import csv_cell
from verify.parallel.executors import in_turn

# Rows that are held as text at once.
ROWS = 2000


def write_csv(frame: pd.DataFrame, path: Path, executor: Executor | None = None, places: Places | None = None) -> None:
    """Write a frame: texts as cells of CSV, so that no row ends early and none is taken for a formula.

    Numbers are written in full; what is unknown, None or NaN, is empty.  executor: where rows become text, in
    this process without one; WorkerDiedError if one of its processes dies.  places: where the rest of the columns is,
    read for some rows at a time, as all of it would take too much memory; InvalidRequestError if it cannot be.
    """
    parts = (frame.iloc[first : first + ROWS] for first in range(0, len(frame), ROWS))
    calls = ((part, None if places is None else places.of(part)) for part in parts)
    head = frame.iloc[:0]
    names = (head if places is None else places.completed(head)).columns
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_head(map(str, names)))
        file.writelines(in_turn(executor, "wrote a table", _rows, calls))


def _rows(part: pd.DataFrame, places: Places | None) -> str:
    return csv_rows(part if places is None else places.completed(part))


def csv_head(names: Iterable[str]) -> str:
    """Return the first line of a table."""
    return ",".join(_quoted(csv_cell(name)) for name in names) + "\n"


def csv_rows(part: pd.DataFrame) -> str:
    """Return rows of a table."""
    shown = _Shown()
    columns = [_cells(str(name), column, shown) for name, column in part.items()]
    return "".join([",".join(row) + "\n" for row in zip(*columns, strict=True)])


def _cells(name: str, column: pd.Series, shown: _Shown) -> list[str]:
    if column.dtype == float:
        return _numbers(column.to_numpy(dtype=np.float64))
    if name in NESTED:  # JSON of ours starts with a bracket
        return ["" if value is None else _quoted(value) for value in column]
    return [shown[v] if type(v) is str else "" if v is None else _other(v) for v in column.tolist()]


def _numbers(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    """Return numbers as text: the shortest that reads back as the same one, found once for all that are equal."""
    places, bits = pd.factorize(values.view(np.int64))  # -0.0 equals 0.0, and is another one
    texts = ["" if value != value else repr(value) for value in bits.view(np.float64).tolist()]
    return [texts[place] for place in places.tolist()]


def _other(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


class _Shown(dict[str, str]):
    """Texts as cells; most stand in many of them."""

    def __missing__(self, text: str) -> str:
        self[text] = shown = _quoted(csv_cell(text))
        return shown


def _quoted(text: str) -> str:
    """Return a cell as it stands between commas; there are no line ends in it."""
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text
