from __future__ import annotations

import csv
import io
import re
from math import comb
from pathlib import Path

import numpy as np
import pytest

from reports.answers import answers
from reports.figures import figures
from reports.frame import load_runs
from reports.tables import input_sections
from reports.text import Table, csv_text, error_text, escape_markdown, skill_text
from reports.unmeasured import unmeasured_table
from reports.write import write_report
from tests.conftest import SMALL_SPEC
from tests.reports.pages import Page
from verify.errors import InvalidRequestError
from verify.inputs import FileInput
from verify.mechanisms.registry import known
from verify.parallel.executors import InProcessExecutor
from verify.sweep import RunFile, SweepSpec, run_sweep

NASTY = "<img src=x onerror=alert(1)>|`$x$`*_&.npz"


@pytest.fixture
def nasty_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run over an input with a hostile name, in which one order has no value, one is refused and nothing is small."""
    monkeypatch.chdir(tmp_path)
    mask = np.array([[True], [False]])  # which no state serves
    np.savez(NASTY, q=np.ones((1, 2, 1)), k=-np.ones((1, 1, 1)), v=np.ones((1, 1, 1)), mask=mask)
    spec = SweepSpec((FileInput((NASTY,), scale=1.0),), SMALL_SPEC.plans, (0, 1, 2), ("float32",))
    path = tmp_path / "<b>run.sqlite"
    run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command=f"attnproof {NASTY}")
    return path


@pytest.mark.usefixtures("undrawn")
def test_files_are_complete_and_the_same_twice(small_run: Path, tmp_path: Path) -> None:
    one, other = write_report([small_run], tmp_path / "one"), write_report([small_run], tmp_path / "other")
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in one.files)
    assert names == sorted(
        ["report.html", "report.md", "answer.csv", "cells.csv", "heads.csv", "costs.csv", "timings.csv"]
        + [f"figures/error_by_order.{kind}" for kind in ("svg",)]
    )
    assert sorted(p for p in (tmp_path / "one").rglob("*") if p.is_file()) == sorted(one.files)  # no temporaries left
    for a, b in zip(one.files, other.files, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


@pytest.mark.usefixtures("undrawn")
def test_the_page_needs_no_network_and_shows_every_number(small_run: Path, tmp_path: Path) -> None:
    page = Page(write_report([small_run], tmp_path).page.read_text())
    assert page.loads
    assert all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 1
    frame = load_runs([small_run]).frame
    for value in frame[frame["mechanism"] == "taylor"]["total_relative"]:
        assert error_text(value) in page.text
    assert "attnproof sweep --input <b>&|`x`" in page.text  # the command line, as text


@pytest.mark.usefixtures("unsaved")
def test_hostile_names_are_shown_and_not_obeyed(nasty_run: Path, tmp_path: Path) -> None:
    written = write_report([nasty_run], tmp_path / "report")
    page = Page(written.page.read_text())
    assert page.tags.count("img") == len([file for file in written.files if file.suffix == ".svg"])
    assert "b" not in page.tags
    assert NASTY in page.text
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "<img" not in markdown
    assert escape_markdown(NASTY) in markdown
    for block in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):  # no name breaks a table
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_what_has_no_value_is_infinite_and_refusals_have_reasons(nasty_run: Path) -> None:
    loaded = load_runs([nasty_run])
    frame = loaded.frame
    first_order = frame[(frame["order"] == 1) & (frame["form"] == "scores")].iloc[0]
    assert first_order["total_relative"] == np.inf
    assert first_order["nonpositive_exact"] == 1
    (taylor,) = input_sections(loaded, answers(loaded))[0].mechanisms
    row = dict(zip(taylor.totals.columns, taylor.totals.rows[1], strict=True))
    assert row["total float32 scores"] == row["truncation"] == "inf"
    assert row["rows with Z <= 0"] == "1 of 1"
    assert row["skill"] == ""  # one token: the mean of v is exact
    refused = unmeasured_table(frame)
    ((count, status, what, name, reason),) = refused.rows  # a line for each cause
    assert (count, status, name) == ("3", "refused", NASTY)
    assert what == "taylor:order=0/packed, taylor:order=1/packed, taylor:order=2/packed"
    assert "use the form scores" in reason
    costs = frame[frame["status"] == "refused"]
    assert costs["features"].tolist() == [1, 2, 3]  # what it would cost is known all the same
    captions = {figure.name: figure.caption for figure in figures(loaded, ())}
    assert all("infinite" in captions[f"error_by_{what}"] for what in ("order", "time"))


def test_tables_show_what_the_records_hold(small_run: Path) -> None:
    runs = load_runs([small_run])
    frame = runs.frame
    for section in input_sections(runs, answers(runs)):
        (taylor,) = section.mechanisms
        own = frame[(frame["input"] == section.name) & (frame["mechanism"] == "taylor")]
        assert [row[0] for row in taylor.totals.rows] == ["0", "1", "3"]
        assert [row[1] for row in taylor.totals.rows] == ["1", "2", "4"]
        for row in taylor.totals.rows:
            shown = dict(zip(taylor.totals.columns, row, strict=True))
            for form in ("scores", "packed"):
                for arithmetic in ("float64", "float32"):
                    cell = own[
                        (own["order"] == int(row[0])) & (own["form"] == form) & (own["arithmetic"] == arithmetic)
                    ]
                    assert shown[f"total {arithmetic} {form}"] == error_text(cell["total_relative"].item())


@pytest.mark.usefixtures("undrawn")
def test_csv_has_every_cell_unrounded(small_run: Path, tmp_path: Path) -> None:
    write_report([small_run], tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    frame = load_runs([small_run]).frame
    assert len(rows) == len(frame) == 32
    assert [float(row["total_rms"]) for row in rows] == frame["total_rms"].tolist()


@pytest.mark.usefixtures("undrawn")
def test_names_are_no_formulas_for_a_spreadsheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.npz", "+a.npz", "-b.npz", "@c.npz", "d=e.npz"]
    for name in names:
        np.savez(name, q=np.ones((1, 1)), k=np.ones((1, 1)), v=np.ones((1, 1)))
    plans = tuple(known().plans(["softmax/softmax"]))
    spec = SweepSpec(tuple(FileInput((name,)) for name in names), plans, (), ("float32",))
    run_sweep(spec, lambda: RunFile(Path("=run.sqlite"), write=True), InProcessExecutor, started="now", command="-x")
    write_report([Path("=run.sqlite")], tmp_path)
    with Path("cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["input"] for row in rows} == {f"'{name}" for name in names[:4]} | {"d=e.npz"}
    assert {row["run"] for row in rows} == {"'=run.sqlite"}
    assert csv_text([{"number": -1.5, "text": "-1.5", "formula": "-1.5+A1"}]).endswith("-1.5,-1.5,'-1.5+A1")


@pytest.mark.usefixtures("undrawn")
def test_a_later_session_supersedes_and_two_files_are_joined(small_run: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.sqlite"
    spec = SweepSpec(SMALL_SPEC.inputs[:1], tuple(known().plans(["softmax/softmax"])), (), ("float64",))
    run_sweep(
        spec, lambda: RunFile(more, write=True), InProcessExecutor, started="2026-02-01T00:00:00+00:00", command="x"
    )
    for paths in ([small_run, more], [more, small_run], [more, more, small_run]):
        loaded = load_runs(paths)
        assert (len(loaded.frame), loaded.superseded, len(loaded.sessions)) == (32, 1, 2)
        assert loaded.frame[loaded.frame["run"] == "more.sqlite"].shape[0] == 1  # the later one, in any order
        measured_in = dict(input_sections(loaded, answers(loaded))[0].facts)["measured in"]
        assert set(measured_in.split(", ")) == {"more.sqlite session 1", "small.sqlite session 1"}


def test_a_run_without_taylor_or_without_cells(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    with RunFile(path, write=True):
        pass
    with pytest.raises(InvalidRequestError, match="no cells in"):
        write_report([path], tmp_path / "report")
    spec = SweepSpec(SMALL_SPEC.inputs[:1], tuple(known().plans(["softmax/softmax"])), (), ("float64",))
    run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command="x")
    written = write_report([path], tmp_path / "report")
    names = ["report.html", "report.md", "answer.csv", "costs.csv", "cells.csv", "heads.csv", "timings.csv"]
    assert [file.name for file in written.files] == names
    assert "<h1>" in written.page.read_text()
    assert "Nothing is compared with softmax in float64." in written.page.read_text()


def test_text() -> None:
    assert [error_text(x) for x in (None, 0.0, 1.26e-7, float("nan"), float("inf"))] == [
        "",
        "0",
        "1.3e-07",
        "inf",
        "inf",
    ]
    assert [skill_text(x) for x in (None, -1e-9, 0.5, float("-inf"), -12345.0)] == [
        "",
        "0.000",
        "0.500",
        "-inf",
        "-1.2e+04",
    ]
    assert Table(["a|b"], [["x\n|y"]]).markdown().splitlines()[2] == "| x\\\\n\\|y |"
    assert Table(["a"], []).plain() == "a\n---"
    wide = Table(["name", "first count", "second"], [["x", "1", "22,222"], ["y", "10", ""]], keys=1)
    assert wide.plain(40) == wide.plain()
    assert wide.plain(19).splitlines() == [
        "      first",
        "name  count  second",
        "----  -----  ------",
        "x         1  22,222",
        "y        10",
    ]
    assert wide.plain(18).splitlines() == [
        *("      first", "name  count", "----  -----", "x         1", "y        10"),
        *("", "name  second", "----  ------", "x     22,222", "y"),
    ]


@pytest.mark.usefixtures("undrawn")
def test_costs_csv_is_the_cost_of_every_order_measured(small_run: Path, tmp_path: Path) -> None:
    write_report([small_run], tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "costs.csv").read_text())))
    costs = [row for row in rows if row["mechanism"] == "taylor"]
    assert [(row["head_size"], row["order"], row["features"]) for row in costs] == [
        (str(d), str(order), str(comb(d + order, order))) for d in (4, 8) for order in (0, 1, 3)
    ]
