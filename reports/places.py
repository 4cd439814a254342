"""Where cells stand in run files, and what of them is read only when it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reports.cells import NESTED, SUMMARIES, WIDE
from verify.sweep.columns import CELL
from verify.sweep.store import RunFile

Values = dict[int, dict[str, Any]]

_REALS = {column.name for column in CELL if column.type == "REAL"}


@dataclass(frozen=True)
class Places:
    """Where the cells of a frame stand.  table: of each the file, by its place among files, and its id there."""

    files: Sequence[Path]
    table: pd.DataFrame

    def of(self, cells: pd.DataFrame) -> Places:
        """Return the places of some of the cells."""
        return Places(self.files, self.table.loc[cells.index])

    def with_nested(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Return cells with what of them is no single number, JSON as text in the columns NESTED.

        Raises InvalidRequestError if a file is damaged, or has changed since the frame was read.
        """
        return self._with(cells, NESTED, _nested)

    def completed(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Return cells with all columns there are; raises as `with_nested` does."""
        found = self._with(self._with(cells, NESTED, _nested), WIDE, _wide)
        others = [name for name in cells.columns if name not in SUMMARIES]
        return found[[*others, *SUMMARIES, *NESTED]]

    def _with(
        self, cells: pd.DataFrame, names: Sequence[str], read: Callable[[RunFile, Sequence[int]], Values]
    ) -> pd.DataFrame:
        table = self.table.loc[cells.index]
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for file in table["file"].unique().tolist():
            with RunFile(self.files[file]) as run:
                own = read(run, table["id"][table["file"] == file].tolist())
            found |= {(file, cell): values for cell, values in own.items()}
        rows = [found[place] for place in zip(table["file"].tolist(), table["id"].tolist(), strict=True)]
        kinds = {name: float if name in _REALS else object for name in names}
        columns = {name: pd.Series([row[name] for row in rows], cells.index, kinds[name]) for name in names}
        return cells.join(pd.DataFrame(columns, cells.index))


def _nested(run: RunFile, ids: Sequence[int]) -> Values:
    return dict(zip(ids, run.rests(ids), strict=True))


def _wide(run: RunFile, ids: Sequence[int]) -> Values:
    found: Values = {cell: {} for cell in ids}
    for batch in run.batches(ids):
        for name in WIDE:
            values = batch.reals[name].tolist() if name in batch.reals else batch.others[name]
            for cell, value in zip(batch.ids.tolist(), values, strict=True):
                found[cell][name] = value
    return found
