"""The columns of a run file: every number has one, which holds it, and every one is described."""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from verify.sweep import Record, RunFile
from verify.sweep.columns import CELL, HEAD, REST
from verify.sweep.statistics import numbers_of, statistic_names

EXTREMES = (math.inf, -math.inf, math.nan, -0.0, 0.0, 5e-324, -1.7976931348623157e308, 0.1 + 0.2)
INTEGERS = (0, -1, 2**63 - 1, -(2**63), 2**63, 10**400)
TEXTS = ("", "NULL", "a\x00b", "'; DROP TABLE cell", "\u202ex", "line\nline", "\ud800.npz", "nan", "[1]")


def written(path: Path, *records: Record) -> list[Record]:
    """Return records as they come back from a run file."""
    with RunFile(path, write=True) as run:
        run.begin("now", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
        for number, record in enumerate(records):
            run.write(f"{number:09}", record)
    with RunFile(path) as run:
        return [record for _, record, _ in run.records()]


def of_taylor(path: Path) -> Record:
    with RunFile(path) as run:
        return next(record for _, record, _ in run.records() if record.mechanism == "taylor")


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(query).fetchall()


def test_the_view_shows_every_number_of_every_record(small_run: Path) -> None:
    names = statistic_names()
    rows = asked(small_run, f"SELECT key, {', '.join(names)} FROM cells")
    with RunFile(small_run) as run:
        assert len(rows) == run.count()
        for key, *values in rows:
            record = run.record(key)
            assert record is not None
            assert numbers_of(record) == {name: own for name, own in zip(names, values, strict=True) if own is not None}


def test_the_view_of_heads_shows_every_head(small_run: Path) -> None:
    record = of_taylor(small_run)
    about = (record.digest, record.member, record.form, record.arithmetic)
    names = ", ".join(column.name for column in HEAD)
    with closing(sqlite3.connect(small_run)) as file:
        query = (
            f"SELECT {names} FROM heads WHERE digest = ? AND member = ? AND form = ? AND arithmetic = ? ORDER BY place"
        )
        rows = file.execute(query, about).fetchall()
    assert [(tuple(json.loads(head)), *numbers) for head, *numbers in rows] == [
        tuple(vars(head).values()) for head in record.per_head
    ]


def test_columns_hold_what_they_are_declared_for(small_run: Path) -> None:
    for view in ("cells", "heads"):
        for _, name, kind, *_ in asked(small_run, f"PRAGMA table_info({view})"):
            found = {own for (own,) in asked(small_run, f'SELECT DISTINCT typeof("{name}") FROM {view}')}
            assert found <= {"null", kind.lower()}, name


def test_no_member_of_a_record_is_left_out(small_run: Path) -> None:
    document = json.loads(of_taylor(small_run).to_json())
    leaves = set(paths(document)) - {("per_head",)}
    assert leaves == {column.path for column in (*CELL, *REST)}
    assert set(document["per_head"][0]) == {column.name for column in HEAD}


def paths(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Yield the ways to all values that are no objects; labels, options and examples are values."""
    if isinstance(value, dict) and path[-1:] not in (("labels",), ("options",), ("examples",)):
        for name, inner in value.items():
            yield from paths(inner, (*path, name))
    else:
        yield path


def test_everything_is_described(small_run: Path) -> None:
    rows = asked(small_run, "SELECT relation, name, type, meaning FROM about")
    assert all(meaning.strip() for *_, meaning in rows)
    for relation in {relation for relation, *_ in rows} - {"cell", "head"}:
        kinds = {name: kind for _, name, kind, *_ in asked(small_run, f"PRAGMA table_info({relation})")}
        told = {name: kind for own, name, kind, _ in rows if own == relation and name is not None}
        assert {name: "TEXT" if kind == "JSON" else kind for name, kind in told.items()} == kinds
    relations = asked(small_run, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    assert {name for (name,) in relations} == {relation for relation, name, *_ in rows if name is None}


@pytest.mark.parametrize("value", EXTREMES)
def test_every_real_number_comes_back(value: float, small_run: Path, tmp_path: Path) -> None:
    record = of_taylor(small_run)
    (head,), rows = record.per_head, record.output_rows
    assert rows is not None
    size = abs(value) if value == value and math.copysign(1.0, value) < 0 and value else value  # no error is below 0
    changed = dataclasses.replace(
        record,
        skill=value,
        scale=value,
        errors=record.errors | {"total": dataclasses.replace(record.errors["total"], q05=size)},
        per_head=(dataclasses.replace(head, largest_logit=value),),
        output_rows=dataclasses.replace(rows, by_position=((0, 1, value, value, 0.5, 0.5),)),
    )
    (found,) = written(tmp_path / "run.sqlite", changed)
    assert found.to_json() == changed.to_json()
    ((column, special),) = asked(tmp_path / "run.sqlite", "SELECT skill, special FROM cells")
    assert column is None if math.isnan(value) else column == value
    assert (special is None) == (value == value and (value != 0 or math.copysign(1.0, value) > 0))
    with RunFile(tmp_path / "run.sqlite") as run:
        (batch,), heads = run.numbers()
    for own in (batch.reals["skill"], heads.columns["largest_logit"]):
        assert repr(own.tolist()) == repr([value])


@pytest.mark.parametrize("value", INTEGERS)
def test_every_integer_comes_back(value: int, small_run: Path, tmp_path: Path) -> None:
    record = of_taylor(small_run)
    assert record.counts is not None
    changed = dataclasses.replace(
        record, flops_per_token=value, counts=dataclasses.replace(record.counts, kv_break_even=value)
    )
    (found,) = written(tmp_path / "run.sqlite", changed)
    assert found.to_json() == changed.to_json()
    ((column,),) = asked(tmp_path / "run.sqlite", "SELECT flops_per_token FROM cells")
    assert column == (value if -(2**63) <= value < 2**63 else None)
    with RunFile(tmp_path / "run.sqlite") as run:
        (batch,), _ = run.numbers()
        assert run.counts() == [changed.counts]
    assert batch.others["flops_per_token"] == [value]


@pytest.mark.parametrize("value", TEXTS)
def test_every_text_comes_back(value: str, small_run: Path, tmp_path: Path) -> None:
    changed = dataclasses.replace(
        of_taylor(small_run), input=value, labels={value: value, "order": 1}, options={value: 1}
    )
    (found,) = written(tmp_path / "run.sqlite", changed)
    assert found.to_json() == changed.to_json()
    with RunFile(tmp_path / "run.sqlite") as run:
        (batch,), _ = run.numbers()
    assert batch.others["input"] == [value]


def parts(path: Path) -> list[int]:
    """Return how many cells have a rest, and how many heads there are."""
    return [count for table in ("rest", "head") for (count,) in asked(path, f"SELECT count(*) FROM {table}")]


def test_a_cell_that_is_measured_again_replaces_the_old_one(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    record = of_taylor(small_run)
    written(path, record, record)
    with RunFile(path, write=True) as run:
        run.begin("later", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
        run.write("000000000", dataclasses.replace(record, skill=0.5))
        assert run.count() == 2
    assert [count for (count,) in asked(path, "SELECT count(*) FROM rest UNION ALL SELECT count(*) FROM head")] == [
        2,
        2,
    ]
    assert asked(path, "SELECT started, skill FROM cells ORDER BY key") == [("later", 0.5), ("now", record.skill)]
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM cell WHERE key = '000000000'")
    assert [count for (count,) in asked(path, "SELECT count(*) FROM rest UNION ALL SELECT count(*) FROM head")] == [
        1,
        1,
    ]


def test_a_full_disk_leaves_no_part_of_a_cell(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    record = of_taylor(small_run)
    written(path, record)
    with RunFile(path, write=True) as run:
        run.begin("later", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
        run._connection.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON head BEGIN SELECT raise(FAIL, 'full'); END")
        with pytest.raises(Exception, match="cannot be written"):
            run.write("1", record)
        assert run.count() == 1
        run._connection.execute("DROP TRIGGER full")
        run.write("1", record)
    assert [count for (count,) in asked(path, "SELECT count(*) FROM rest UNION ALL SELECT count(*) FROM head")] == [
        2,
        2,
    ]
