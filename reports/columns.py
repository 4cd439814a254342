"""Data frames as CSV files, column by column: a hundred thousand rows take seconds."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from reports.frame import NESTED
from reports.text import csv_cell

# Rows that are held as text at once.
ROWS = 5000


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame: texts as cells of CSV, so that no row ends early and none is taken for a formula.

    Numbers are written in full; what is unknown, None or NaN, is empty.
    """
    shown: dict[str, str] = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([csv_cell(str(name)) for name in frame.columns])
        for first in range(0, len(frame), ROWS):
            part = frame.iloc[first : first + ROWS]
            columns = [_cells(str(name), column, shown) for name, column in part.items()]
            writer.writerows(zip(*columns, strict=True))


def _cells(name: str, column: pd.Series, shown: dict[str, str]) -> list[Any]:
    values = column.tolist()
    if column.dtype == float:
        return ["" if value != value else value for value in values]
    if column.dtype != object or name in NESTED:  # JSON of ours starts with a bracket
        return values
    return [_cell(value, shown) for value in values]


def _cell(value: Any, shown: dict[str, str]) -> Any:
    """Return a value as a cell; most texts stand in many cells."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if not isinstance(value, str):
        return value
    if value not in shown:
        shown[value] = csv_cell(value)
    return shown[value]
