"""Cells read in batches and tables made in parts: whoever reads them, the same comes out."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.cells import NESTED
from reports.columns import write_csv
from reports.frame import load_runs
from reports.write import write_report
from tests.reports.running import cells_of, swept
from tests.run_files import changed
from verify.errors import InvalidRequestError, WorkerDiedError
from verify.parallel.executors import in_turn, worker_pool
from verify.sweep import Record, RunFile
from verify.sweep.statistics import numbers_of, statistic_names


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with worker_pool(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def runs(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files, one with two sessions; a mechanism with other labels, one without an order, and cells superseded."""
    path = tmp_path_factory.mktemp("runs") / "several.sqlite"
    swept(path, ["softmax/softmax", "taylor/scores", "power"], orders=(1,))
    swept(path, ["softmax/softmax", "elu", "taylor/packed"], orders=(2, 40), arithmetics=("float64", "bfloat16"))
    return [path, small_run]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few cells are many."""
    monkeypatch.setattr("reports.write.MANY", 0)
    monkeypatch.setattr("reports.columns.ROWS", 7)


def test_columns_hold_what_records_do(runs: list[Path]) -> None:
    loaded = load_runs(runs[:1])
    whole = loaded.places.completed(loaded.frame)
    with RunFile(runs[0]) as run:
        records = {about(record): record for _, record, _ in run.records()}
        assert len(records) == len(whole) + loaded.superseded == run.count()
    for place, cell in enumerate(cells_of(whole)):
        record = records[cell["digest"], cell["member"], cell["variant"], cell["arithmetic"]]
        numbers = numbers_of(record)
        for name in statistic_names():
            found = cell[name]
            assert numbers.get(name) == (None if found != found else found), name
        own = loaded.heads[loaded.heads["cell"] == place].drop(columns="cell")
        assert [tuple(head) for head in own.itertuples(index=False)] == [
            tuple(math.nan if value is None else value for value in vars(head).values()) for head in record.per_head
        ] or record.errors.get("formula") is None
        document = json.loads(record.to_json())
        places = {"by_position": "output_rows", "by_distance": "weights", "examples": "weights"}
        for name in NESTED:
            held = document if name not in places else document[places[name]] or {}
            assert (None if cell[name] is None else json.loads(cell[name])) == held.get(name)


def about(record: Record) -> tuple[str, ...]:
    return record.digest, record.member, record.variant, record.arithmetic


def test_batches_put_together_are_the_cells_read_at_once(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_runs(runs)
    completed = whole.places.completed(whole.frame)
    for name, rows in (("batches.ROWS", 1), ("batches.BATCH", 3), ("store.BATCH", 2)):
        monkeypatch.setattr(f"verify.sweep.{name}", rows)
    batches = load_runs(runs)
    pd.testing.assert_frame_equal(batches.frame, whole.frame, check_exact=True)
    pd.testing.assert_frame_equal(batches.heads, whole.heads, check_exact=True)
    pd.testing.assert_frame_equal(batches.places.completed(batches.frame), completed, check_exact=True)


@pytest.mark.usefixtures("many")
def test_processes_write_the_same_tables(runs: list[Path], pool: Executor, tmp_path: Path) -> None:
    loaded = load_runs(runs)
    assert len(loaded.frame) > 3 * 7
    for frame, places in ((loaded.frame, loaded.places), (loaded.frame, None), (loaded.heads, None)):
        write_csv(frame, tmp_path / "found.csv", pool, places)
        write_csv(frame, tmp_path / "alone.csv", None, places)
        assert (tmp_path / "found.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


DAMAGES = [
    "UPDATE cell SET skill = 'much' WHERE id = 9",
    "UPDATE cell SET mechanism = 'nosuch', member = 'nosuch' WHERE id = 9",
    "UPDATE cell SET total_q95 = 'much' WHERE id = 9",
    "UPDATE cell SET total_q95 = NULL WHERE id = 9",
    "UPDATE rest SET examples = '{' WHERE cell = 9",
    "DELETE FROM head WHERE cell = 9",
]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_said_by_whoever_reads_it(
    damage: str, small_run: Path, pool: Executor, tmp_path: Path, undrawn: None
) -> None:
    path = Path(shutil.copy(small_run, tmp_path / "run.sqlite"))
    changed(path, damage)
    messages = []
    for executor in (None, pool):
        with pytest.raises(InvalidRequestError, match="which is damaged") as caught:
            write_report([path], tmp_path / "report", executor=executor)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("many")
def test_a_dead_worker_is_said(small_run: Path, tmp_path: Path, undrawn: None) -> None:
    with worker_pool(1) as executor:
        executor.submit(os._exit, 1)
        with pytest.raises(WorkerDiedError, match="a process that wrote a table died"):
            write_report([small_run], tmp_path / "report", executor=executor)


def test_calls_that_nobody_waits_for_are_not_made(pool: Executor) -> None:
    handed_out: list[int] = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(100):
            handed_out.append(number)
            yield (number,)

    results = in_turn(pool, "found a root", math.isqrt, calls())
    assert [next(results) for _ in range(10)] == [math.isqrt(number) for number in range(10)]
    assert len(handed_out) <= 10 + 3
    results.close()  # type: ignore[attr-defined]


def test_cells_of_csv_are_read_back_as_what_they_were(tmp_path: Path) -> None:
    numbers = [0.0, -0.0, 0.1 + 0.2, 5e-324, -1e300, math.inf, -math.inf, math.nan, 0.0, 1 / 3]
    texts: list[Any] = ['a "b", c', "=1+1", "two\nlines", "", None, "\u202ex", 1, True, (2, 3), 1.0]
    written = ['a "b", c', "'=1+1", "two\\nlines", "", "", "\\u202ex", "1", "True", "2 3", "1.0"]
    frame = pd.DataFrame({"number": numbers, 'of, "text"': pd.Series(texts, dtype=object), "count": range(10)})
    write_csv(frame, tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file, strict=True)
    assert head == ["number", 'of, "text"', "count"]
    shown = [repr(number) if number == number else "" for number in numbers]
    assert rows == [[a, b, str(c)] for a, b, c in zip(shown, written, range(10), strict=True)]
