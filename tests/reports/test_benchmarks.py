"""The file of `make bench`, as it is measured, written and shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reports.benchmarks import load_benchmarks
from reports.text import escape_markdown
from reports.write import write_report
from tests.benchmarks.measurements import Measurement, ratio
from verify.errors import InvalidRequestError
from verify.sweep.provenance import machine

HOSTILE = "<img src=x>|`$x$`"


def document(*measurements: Measurement) -> dict[str, Any]:
    found = [measurement.document(2) for measurement in measurements]
    return {"version": 1, "machine": machine() | {"cores": 2}, "measurements": found}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_median_decides() -> None:
    assert Measurement("a", "at least 2", [1.0, 2.5, 3.0]).holds
    assert not Measurement("a", "at least 2", [1.0, 1.5, 3.0]).holds
    assert Measurement("a", "at most 2", [1.0, 1.5, 3.0]).holds
    assert not Measurement("a", "at most 2", [float("nan")]).holds
    assert not Measurement("a", "at least 2", [float("nan")]).holds
    assert not Measurement("a", "at most 1", [float("nan"), 0.5, 0.5]).holds
    assert not Measurement("a", "at least 1", [float("inf"), 5.0, 5.0]).holds
    with pytest.raises(ValueError, match="at leats 1"):
        _ = Measurement("a", "at leats 1", [2.0]).holds


def test_ratios_are_of_the_turns() -> None:
    found = ratio("a", "at least 0", lambda: None, lambda: sum(range(1000)), turns=3)
    assert len(found.values) == 3
    assert found.values == [a / b for a, b in zip(*found.times.values(), strict=True)]


@pytest.mark.usefixtures("undrawn")
def test_a_report_shows_what_was_measured(small_run: Path, tmp_path: Path) -> None:
    slow = Measurement(HOSTILE, "at least 10", [12.0, 14.5, 11.0], times={"one": [1.0, 3.0, 2.0], "other": [0.1] * 3})
    missed = Measurement("memory", "at most 400", [500.0], "MB")
    path = written(tmp_path / "bench.json", document(slow, missed))
    rows = load_benchmarks(path).table.rows
    assert list(rows[0]) == [HOSTILE, "12", "11", "14.5", "3", "", "2", "2 s / 0.1 s", "at least 10", "holds"]
    assert list(rows[1]) == ["memory", "500", "500", "500", "1", "MB", "2", "", "at most 400", "missed"]
    report = write_report([small_run], tmp_path / "report", path)
    html, markdown = report.page.read_text(), (tmp_path / "report" / "report.md").read_text()
    assert "<img src=x>" not in html + markdown
    assert escape_markdown(HOSTILE) in markdown
    assert re.search("&lt;img src=x&gt;.*</td>.*missed</td>", html, re.DOTALL)
    assert "Speed" not in write_report([small_run], tmp_path / "plain").page.read_text()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"version": 2},
        {"version": 1, "measurements": [{}], "machine": {}},
        {"version": 1, "measurements": [], "machine": None},
        *(
            {**document(), "measurements": [{**Measurement("a", "at least 1", [1.0]).document(2), "values": values}]}
            for values in ([], ["many"], 3, "345")
        ),
    ],
)
def test_other_files_are_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="which holds no benchmarks"):
        load_benchmarks(written(tmp_path / "bench.json", content))
    with pytest.raises(InvalidRequestError, match="no file"):
        load_benchmarks(tmp_path / "missing.json")
