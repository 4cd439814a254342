"""Every record of run files, flat, for other programs: a row for each cell, a column for every number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from reports.cells import label_column
from reports.columns import csv_head, csv_rows
from verify.arguments import Value, value_text
from verify.errors import InvalidRequestError
from verify.files.documents import decoded, plain
from verify.sweep.batches import Batch
from verify.sweep.columns import CELL
from verify.sweep.record import options_text
from verify.sweep.store import RunFile

# Batches that become one group of rows of a Parquet file
GROUP = 40

_KINDS = {column.name: column.kind for column in CELL if not column.json}
_REALS = {name for name, kind in _KINDS.items() if kind is float} | {"seconds"}


# Some records: values by column, None where there is nothing
Flat = dict[str, Sequence[Any]]


class Records:
    """The records of run files, in batches: file by file, by sessions and keys.

    Raises InvalidRequestError if a file cannot be read or is damaged, when it is made or when they are read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list({path.resolve(): path for path in paths}.values())
        self._labels: dict[str, list[Value]] = {}
        for path in self.paths:
            with RunFile(path) as run:
                for labels in run.labels():
                    for label, value in labels.items():
                        self._labels.setdefault(label, []).append(value)

    @cached_property
    def names(self) -> list[str]:
        """The columns, in order."""
        own = [
            name for column in CELL for name in ([*self._label_columns] if column.name == "labels" else [column.name])
        ]
        return ["run", *own, "seconds", "session", "started", "key"]

    @cached_property
    def _label_columns(self) -> dict[str, str]:
        return {label_column(label): label for label in self._labels}

    def kind(self, name: str) -> type:
        """Return the type of the values of a column; text if those of a label are of several types."""
        if name in self._label_columns:
            kinds = {type(value) for value in self._labels[self._label_columns[name]]}
            return kinds.pop() if len(kinds) == 1 else float if kinds == {int, float} else str
        if name in _REALS:
            return float
        kind = int if name == "session" else _KINDS.get(name, str)
        return kind if kind in (int, bool) else str

    def batches(self) -> Iterator[Flat]:
        """Yield all records."""
        for path in self.paths:
            with RunFile(path) as run:
                started = {session.number: session.started for session in run.sessions()}
                for batch in run.batches(run.ids()):
                    yield self._flat(batch, path.name, started)

    def _flat(self, batch: Batch, name: str, started: Mapping[int, str]) -> Flat:
        known: dict[str, Sequence[Any]] = dict(batch.others)
        for column, values in batch.reals.items():
            found = values.tolist()
            known[column] = [
                None if value != value and column not in batch.special.get(place, {}) else value
                for place, value in enumerate(found)
            ]
        labels = [decoded(text) for text in batch.others["labels"]]
        for column, label in self._label_columns.items():
            kind = self.kind(column)
            known[column] = [_label(own.get(label), kind) for own in labels]
        known["options"] = [options_text(decoded(text)) for text in batch.others["options"]]
        known |= {"run": [name] * len(batch.keys), "key": batch.keys, "session": batch.sessions}
        known["started"] = [started.get(session) for session in batch.sessions]
        return {column: known[column] for column in self.names}


def _label(value: Value | None, kind: type) -> Value | None:
    if value is None or isinstance(value, kind):
        return value
    return float(value) if kind is float else value_text(value)


def write_records(paths: Sequence[Path], kind: str, file: BinaryIO) -> int:
    """Write every record of run files as one of FORMATS, and return how many there are.

    csv: what is not there is empty; nan, inf.  json: a list of objects; null, and text where a number is not finite.
    parquet: null; whole numbers beyond 64 bits are null too, and stand in `special`.  Raises InvalidRequestError if a
    file cannot be read or is damaged, none holds a record, or the package for the format is not there.
    """
    records = Records(paths)
    count = FORMATS[kind](records, file)
    if not count:
        raise InvalidRequestError(
            f"no records in {', '.join(map(str, paths))}", "at least one finished cell", "run the sweep first"
        )
    return count


def _csv(records: Records, file: BinaryIO) -> int:
    count = 0
    file.write(csv_head(records.names).encode())
    for part in records.batches():
        columns = {name: pd.Series(values, dtype=object) for name, values in part.items()}
        file.write(csv_rows(pd.DataFrame(columns)).encode())
        count += len(columns["key"])
    return count


def _json(records: Records, file: BinaryIO) -> int:
    count = 0
    for part in records.batches():
        for values in zip(*part.values(), strict=True):
            row = json.dumps(plain(dict(zip(records.names, values, strict=True))), allow_nan=False)
            file.write(f"{',' if count else '['}\n{row}".encode())
            count += 1
    file.write(b"\n]\n")
    return count


def _parquet(records: Records, file: BinaryIO) -> int:
    require_format("parquet")
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    kinds = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_(), str: pyarrow.string()}
    schema = pyarrow.schema(
        [*((name, kinds[records.kind(name)]) for name in records.names), ("special", pyarrow.string())]
    )
    count = 0
    with ParquetWriter(file, schema) as writer:
        waiting: list[Any] = []
        for part in records.batches():
            rows = len(part["key"])
            special: list[dict[str, int]] = [{} for _ in range(rows)]
            columns = [_arrow(name, values, records.kind(name), special) for name, values in part.items()]
            columns.append([json.dumps(found) if found else None for found in special])
            arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            waiting.append(pyarrow.record_batch(arrays, schema=schema))
            count += rows
            if len(waiting) == GROUP:
                writer.write_table(pyarrow.Table.from_batches(waiting))
                waiting = []
        writer.write_table(pyarrow.Table.from_batches(waiting, schema=schema))
    return count


def _arrow(name: str, values: Sequence[Any], kind: type, special: list[dict[str, int]]) -> Sequence[Any]:
    """Return values as Parquet holds them; whole numbers that it does not are put into special."""
    if kind is str:
        return [None if value is None else value.encode(errors="backslashreplace").decode() for value in values]
    if kind is int:
        for place, value in enumerate(values):
            if value is not None and not -(2**63) <= value < 2**63:
                special[place][name] = value
        return [None if name in found else value for value, found in zip(values, special, strict=True)]
    return values


FORMATS: dict[str, Callable[[Records, BinaryIO], int]] = {"csv": _csv, "json": _json, "parquet": _parquet}


def require_format(kind: str) -> None:
    """Raise InvalidRequestError if what writes a format is not installed."""
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise InvalidRequestError(
                f"records in Parquet, without the package pyarrow ({error})",
                "an environment that has it",
                "pip install 'attnproof[parquet]', or take csv or json",
            ) from None
