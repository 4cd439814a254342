"""Every record as a flat row: what other programs read is what was measured."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.export import write_records
from tests.cli.running import run
from tests.run_files import changed
from verify.errors import InvalidRequestError
from verify.sweep import Record, RunFile
from verify.sweep.statistics import numbers_of, statistic_names

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def runs(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files; one with numbers that are none, names that mean something to others, and labels of several types."""
    path = tmp_path_factory.mktemp("runs") / "other.sqlite"
    with RunFile(small_run) as run:
        record = next(record for _, record, _ in run.records() if record.mechanism == "taylor")
        descriptor = run.descriptors()[1, "taylor"]
    others: list[dict[str, Any]] = [
        {"skill": math.nan, "softmax_ratio": -math.inf, "largest_logit": math.inf, "scale": -0.0},
        {"flops_per_token": 10**30, "input": "=1+1\n\ud800", "labels": {"order": "many", "status": True}},
        {"labels": {"order": 2, "kind": 0.5}, "options": {"tile": 16, "exact": True}, "skill": None},
        {"labels": {"order": 2, "kind": 1}, "counts": None},
    ]
    with RunFile(path, write=True) as file:
        file.begin("later", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
        file.describe(descriptor, [])
        for number, more in enumerate(others):
            file.write(f"key {number}", dataclasses.replace(record, **more), 0.25)
    return [small_run, path]


@pytest.fixture
def records(runs: list[Path]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for path in runs:
        with RunFile(path) as run:
            for batch in run.batches(run.ids()):
                found |= dict(zip(batch.keys, (record for _, record in run.records_of(batch.keys)), strict=True))
    return found


def written(runs: list[Path], kind: str, path: Path) -> Path:
    with path.open("wb") as file:
        assert write_records(runs, kind, file) == 36
    return path


def assert_same(rows: Rows, records: dict[str, Record]) -> None:
    """Every row has the numbers of its record and no others; those that are not there are None."""
    assert [row["key"] for row in rows] == list(records)
    for row in rows:
        expected = numbers_of(records[row["key"]])
        found = {name: row[name] for name in statistic_names() if row[name] is not None}
        assert {name: repr(value) for name, value in found.items()} == {
            name: repr(value) for name, value in expected.items()
        }


def test_csv_reads_back_as_the_same_numbers(runs: list[Path], records: dict[str, Record], tmp_path: Path) -> None:
    path = written(runs, "csv", tmp_path / "records.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows: Rows = list(csv.DictReader(file, strict=True))
    for row in rows:
        expected = numbers_of(records[row["key"]])
        for name in statistic_names():
            row[name] = None if row[name] == "" else type(expected.get(name, 0.0))(row[name])
    assert_same(rows, records)
    *_, first, second, third, fourth = rows
    assert (first["run"], first["started"], first["seconds"]) == ("other.sqlite", "later", "0.25")
    assert (second["input"], second["order"], second["parameter_status"]) == ("'=1+1\\n\\ud800", "many", "True")
    assert (third["options"], third["kind"], third["parameter_kind"]) == ("tile=16,exact=yes", "synthetic", "0.5")
    assert (fourth["parameter_kind"], fourth["counts_features"]) == ("1.0", "")
    frame = pd.read_csv(path)
    assert len(frame) == 36
    finite = [record.errors["total"].relative for record in records.values()]
    assert frame["total_relative"].tolist() == finite


def test_json_is_a_list_of_flat_objects(runs: list[Path], records: dict[str, Record], tmp_path: Path) -> None:
    def no_number(text: str) -> None:
        raise ValueError(text)

    text = written(runs, "json", tmp_path / "records.json").read_text()
    rows: Rows = json.loads(text, parse_constant=no_number)
    assert not any(isinstance(value, dict | list) for row in rows for value in row.values())
    for row in rows:
        reals = {name for name in statistic_names() if row[name] in ("inf", "-inf", "nan")}
        row |= {name: float(row[name]) for name in reals}
    assert_same(rows, records)
    assert [row["parameter_status"] for row in rows[-4:]] == [None, True, None, None]
    assert rows[-3]["input"] == "=1+1\n\ud800"


def test_parquet_holds_typed_columns(runs: list[Path], records: dict[str, Record], tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip(
        "pyarrow.parquet", reason="pyarrow is not installed: pip install 'attnproof[parquet]'"
    )
    table = parquet.read_table(written(runs, "parquet", tmp_path / "records.parquet"))
    rows: Rows = table.to_pylist()
    assert [row["special"] for row in rows[-4:]] == [None, json.dumps({"flops_per_token": 10**30}), None, None]
    for row in rows:
        row |= json.loads(row["special"] or "{}")
    assert_same(rows, records)
    kinds = {name: str(table.schema.field(name).type) for name in table.schema.names}
    assert {kinds[name] for name in statistic_names()} == {"int64", "double"}
    assert (kinds["causal"], kinds["order"], kinds["parameter_kind"], kinds["terms"]) == (
        "bool",
        "string",
        "double",
        "int64",
    )
    assert rows[-3]["input"] == "=1+1\n\\ud800"


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_records_are_printed_or_written(
    kind: str, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "records"
    code, printed, said = run(capsys, "report", small_run, "--records", kind)
    assert (code, said) == (0, "")
    out.write_text("older")
    code, told, _ = run(capsys, "report", small_run, "--records", kind, "--out", out, "--columns", 1000)
    assert (code, told) == (0, f"32 records in {out}\n")
    assert out.read_bytes().decode() == printed


def test_what_cannot_be_written_is_said_in_a_line_and_leaves_nothing(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, empty, out = (tmp_path / name for name in ("run.sqlite", "empty.sqlite", "records"))
    path.write_bytes(small_run.read_bytes())
    with RunFile(empty, write=True):
        pass
    changed(path, "UPDATE cell SET total_q95 = 'much' WHERE id = (SELECT max(id) FROM cell)")
    out.write_text("older")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    cases = [
        ([path, "--records", "csv"], "damaged"),
        ([path, "--records", "json", "--out", out], "damaged"),
        ([empty, "--records", "csv", "--out", out], "no records in"),
        ([small_run, "--records", "cvs"], "did you mean csv? (--records)"),
        ([small_run, "--records", "csv", "--json"], "--json with --records"),
        ([small_run, "--records", "csv", "--figures", "png"], "--figures with --records"),
        ([small_run, "--records", "csv", "--out", tmp_path], "a folder"),
        ([path, "--records", "csv", "--out", path], "which is to be read"),
        ([small_run, "--records", "parquet", "--out", out], "pip install 'attnproof[parquet]'"),
    ]
    before = sorted(tmp_path.iterdir())
    for arguments, message in cases:
        code, printed, said = run(capsys, "report", *arguments)
        assert (code, printed, said.count("\n")) == (2, "", 1), arguments
        assert message in said
        assert out.read_text() == "older"
        assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    monkeypatch.setattr("reports.export.require_format", lambda kind: None)
    code, _, said = run(capsys, "report", small_run, "--records", "parquet")
    assert (code, said.count("\n")) == (2, 1)
    with pytest.raises(InvalidRequestError, match="damaged"), out.open("wb") as file:
        write_records([path], "json", file)
