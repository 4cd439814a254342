"""Cells read in spans and tables made in parts: whoever reads them, the same comes out."""

from __future__ import annotations

import csv
import json
import math
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.columns import write_csv
from reports.frame import load_runs
from tests.reports.running import swept
from verify.errors import InvalidRequestError, WorkerDiedError
from verify.parallel.executors import in_turn, worker_pool
from verify.sweep.store import RunFile


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
    for name, value in (("frame.MANY", 0), ("frame.SPAN", 7), ("columns.ROWS", 7)):
        monkeypatch.setattr(f"reports.{name}", value)


def test_spans_hold_every_cell_once_and_in_order(runs: list[Path]) -> None:
    for path in runs:
        with RunFile(path) as run:
            expected = [repr(cell) for cell in run.records()]
            assert len(expected) == run.count()
            for cells in (1, 3, len(expected)):
                spans = run.spans(cells)
                inside = [[repr(cell) for cell in run.records(span)] for span in spans]
                assert [cell for own in inside for cell in own] == expected
                assert max(map(len, inside)) <= cells


@pytest.mark.usefixtures("many")
def test_processes_make_the_same_frame(runs: list[Path], pool: Executor, tmp_path: Path) -> None:
    found, alone = load_runs(runs, pool), load_runs(runs)
    assert len(alone.frame) > 3 * 7
    pd.testing.assert_frame_equal(found.frame, alone.frame, check_exact=True)
    pd.testing.assert_frame_equal(found.heads, alone.heads, check_exact=True)
    for name in ("mechanisms", "portraits", "counts", "sessions", "superseded", "missing"):
        assert getattr(found, name) == getattr(alone, name), name
    for frame in (found.frame, found.heads):
        write_csv(frame, tmp_path / "found.csv", pool)
        write_csv(frame, tmp_path / "alone.csv")
        assert (tmp_path / "found.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_spans_put_together_are_the_cells_read_at_once(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_runs(runs)
    monkeypatch.setattr("reports.frame.SPAN", 1)
    spans = load_runs(runs)
    pd.testing.assert_frame_equal(spans.frame, whole.frame, check_exact=True)
    pd.testing.assert_frame_equal(spans.heads, whole.heads, check_exact=True)


@pytest.mark.usefixtures("many")
def test_a_damaged_record_is_said_by_whoever_reads_it(small_run: Path, pool: Executor, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    for damage in ({"skill": "much"}, {"mechanism": "nosuch", "member": "nosuch"}):
        path.write_bytes(small_run.read_bytes())
        with closing(sqlite3.connect(path)) as run, run:
            key, text = run.execute("SELECT key, record FROM cell ORDER BY key LIMIT 1 OFFSET 9").fetchone()
            run.execute("UPDATE cell SET record = ? WHERE key = ?", (json.dumps(json.loads(text) | damage), key))
        messages = []
        for executor in (None, pool):
            with pytest.raises(InvalidRequestError, match="which is damaged") as caught:
                load_runs([path], executor)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        assert "\n" not in messages[0]


@pytest.mark.usefixtures("many")
def test_a_dead_worker_is_said(small_run: Path) -> None:
    with worker_pool(1) as executor:
        executor.submit(os._exit, 1)
        with pytest.raises(WorkerDiedError, match="a process that read a run file died"):
            load_runs([small_run], executor)


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
