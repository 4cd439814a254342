from __future__ import annotations

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from itertools import product
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from reports.figures import Drawn, _by_cost, _by_order, figures
from reports.frame import load_runs
from reports.tables import glance_table, input_sections, unmeasured_table
from reports.text import Table, error_text, escape_markdown, skill_text
from reports.write import write_report
from tests.conftest import SMALL_SPEC
from verify.attention.hazards import Hazards
from verify.bounds import BoundSummary
from verify.cost import taylor_cost
from verify.errors import InvalidRequestError
from verify.inputs import FileInput
from verify.measure.metrics import ErrorSummary, RowSummary
from verify.measure.weights import WeightSummary
from verify.parallel.executors import InProcessExecutor
from verify.sweep import Record, RunFile, Status, SweepSpec, run_sweep

NASTY = "<img src=x onerror=alert(1)>|`$x$`*_&.npz"


@pytest.fixture
def nasty_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run over an input with a hostile name, in which one order has no value, one is refused and nothing is small."""
    monkeypatch.chdir(tmp_path)
    np.savez(NASTY, q=np.ones((1, 1, 1)), k=-np.ones((1, 1, 1)), v=np.ones((1, 1, 1)), mask=np.array([[True]]))
    spec = SweepSpec((FileInput((NASTY,), scale=1.0),), SMALL_SPEC.forms, (0, 1, 2), ("float32",))
    path = tmp_path / "<b>run.sqlite"
    run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command=f"attnproof {NASTY}")
    return path


class Page(HTMLParser):
    """Collects tags, what they load, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_files_are_complete_and_the_same_twice(small_run: Path, tmp_path: Path) -> None:
    one, other = write_report([small_run], tmp_path / "one"), write_report([small_run], tmp_path / "other")
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in one.files)
    assert names == sorted(
        ["report.html", "report.md", "cells.csv", "costs.csv"]
        + [f"figures/error_by_{x}.{kind}" for x in ("order", "state", "flops") for kind in ("svg", "png")]
    )
    assert sorted(p for p in (tmp_path / "one").rglob("*") if p.is_file()) == sorted(one.files)  # no temporaries left
    for a, b in zip(one.files, other.files, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_the_page_needs_no_network_and_shows_every_number(small_run: Path, tmp_path: Path) -> None:
    page = Page(write_report([small_run], tmp_path).page.read_text())
    assert page.loads
    assert all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    assert "script" not in page.tags
    assert page.tags.count("img") == 3
    frame = load_runs([small_run]).frame
    for value in frame["total_relative"]:
        assert error_text(value) in page.text
    assert "attnproof sweep --input <b>&|`x`" in page.text  # the command line, as text


def test_hostile_names_are_shown_and_not_obeyed(nasty_run: Path, tmp_path: Path) -> None:
    written = write_report([nasty_run], tmp_path / "report")
    page = Page(written.page.read_text())
    assert page.tags.count("img") == 3
    assert "b" not in page.tags
    assert NASTY in page.text
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "<img" not in markdown
    assert escape_markdown(NASTY) in markdown
    for line in markdown.splitlines():  # no name breaks a table: unescaped bars are those of the columns
        if line.startswith("|") and escape_markdown(NASTY) in line and "onerror" in line:
            assert len(re.findall(r"(?<!\\)\|", line)) in (8, 9, 13)  # seven columns, eight, twelve


def test_what_has_no_value_is_infinite_and_refusals_have_reasons(nasty_run: Path) -> None:
    frame = load_runs([nasty_run]).frame
    first_order = frame[(frame["order"] == 1) & (frame["form"] == "scores")].iloc[0]
    assert first_order["total_relative"] == np.inf
    assert first_order["nonpositive_exact"] == 1
    section = input_sections(frame)[0]
    row = dict(zip(section.totals.columns, section.totals.rows[1], strict=True))
    assert row["total float32 scores"] == row["truncation"] == "inf"
    assert row["rows with Z <= 0"] == "1 of 1"
    assert row["skill"] == ""  # one token: the mean of v is exact
    refused = unmeasured_table(frame)
    assert len(refused.rows) == 3
    assert all("use the form scores" in reason for *_, reason in refused.rows)
    assert all("infinite" in figure.caption for figure in figures(frame))


def test_tables_show_what_the_records_hold(small_run: Path) -> None:
    frame = load_runs([small_run]).frame
    for section in input_sections(frame):
        own = frame[(frame["input"] == section.name) & (frame["mechanism"] == "taylor")]
        assert [row[0] for row in section.totals.rows] == ["0", "1", "3"]
        assert [row[1] for row in section.totals.rows] == ["1", "2", "4"]
        for row in section.totals.rows:
            shown = dict(zip(section.totals.columns, row, strict=True))
            for form in ("scores", "packed"):
                for arithmetic in ("float64", "float32"):
                    cell = own[
                        (own["order"] == int(row[0])) & (own["form"] == form) & (own["arithmetic"] == arithmetic)
                    ]
                    assert shown[f"total {arithmetic} {form}"] == error_text(cell["total_relative"].item())
    glance = glance_table(frame)
    shown = dict(zip(glance.columns, glance.rows[0], strict=True))
    narrow = frame[
        (frame["input"] == shown["input"]) & (frame["form"] == "scores") & (frame["arithmetic"] == "float32")
    ]
    best = narrow.iloc[int(np.argmin(narrow["total_relative"]))]
    assert (shown["best order"], shown["its total error"]) == (str(best["order"]), error_text(best["total_relative"]))
    enough = narrow[narrow["total_relative"] <= 1e-2]
    assert shown["order for 0.01"] == (str(enough["order"].min()) if len(enough) else "none up to 3")


def test_csv_has_every_cell_unrounded(small_run: Path, tmp_path: Path) -> None:
    write_report([small_run], tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    frame = load_runs([small_run]).frame
    assert len(rows) == len(frame) == 32
    assert [float(row["total_rms"]) for row in rows] == frame["total_rms"].tolist()


def test_a_later_session_supersedes_and_two_files_are_joined(small_run: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.sqlite"
    spec = SweepSpec(SMALL_SPEC.inputs[:1], (("softmax", "softmax"),), (), ("float64",))
    run_sweep(
        spec, lambda: RunFile(more, write=True), InProcessExecutor, started="2026-02-01T00:00:00+00:00", command="x"
    )
    for paths in ([small_run, more], [more, small_run], [more, more, small_run]):
        loaded = load_runs(paths)
        assert (len(loaded.frame), loaded.superseded, len(loaded.sessions)) == (32, 1, 2)
        assert loaded.frame[loaded.frame["run"] == "more.sqlite"].shape[0] == 1  # the later one, in any order
        measured_in = dict(input_sections(loaded.frame)[0].facts)["measured in"]
        assert set(measured_in.split(", ")) == {"more.sqlite session 1", "small.sqlite session 1"}


def test_a_run_without_taylor_or_without_cells(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    with RunFile(path, write=True):
        pass
    with pytest.raises(InvalidRequestError, match="no cells in"):
        write_report([path], tmp_path / "report")
    spec = SweepSpec(SMALL_SPEC.inputs[:1], (("softmax", "softmax"),), (), ("float64",))
    run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command="x")
    written = write_report([path], tmp_path / "report")
    assert [file.name for file in written.files] == ["report.html", "report.md", "cells.csv", "costs.csv"]


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


@pytest.fixture
def distinct(tmp_path: Path) -> pd.DataFrame:
    """A run in which every number is another one, so that no table or curve can show the wrong one unnoticed."""
    numbers = (1.0 + count / 1000 for count in range(100_000))
    counts = iter(range(100, 100_000))

    def filled(kind: Any, **more: Any) -> Any:
        values: dict[str, Any] = {"float": numbers, "int": counts}
        plain = {f.name: next(values[str(f.type)]) for f in dataclasses.fields(kind) if str(f.type) in values}
        return kind(**plain, **more)

    blank = Record("x", "sample", "digest", 8, 4, 11, 12, 13, True, 0.5, None, 14.0, 15.0, 16)
    path = tmp_path / "run.sqlite"
    with RunFile(path, write=True) as run:
        run.begin("now", {"command": "x", "spec": {}, "machine": {}})
        forms: list[tuple[str, str, int | None]] = [("softmax", "softmax", None), ("logexp", "quadratic", None)]
        forms += [("taylor", form, order) for form in ("scores", "packed") for order in (0, 3, 5)]
        for key, (arithmetic, (mechanism, form, order)) in enumerate(product(("float64", "float32"), forms)):
            inherent = {"taylor": ["truncation"], "logexp": ["deviation"], "softmax": []}[mechanism]
            record = dataclasses.replace(
                blank,
                mechanism=mechanism,
                form=form,
                order=order,
                terms=None if order is None else order + 1,
                arithmetic=arithmetic,
                status=Status.OK,
                errors={name: filled(ErrorSummary) for name in ("rounding", "quantisation", "total", *inherent)},
                skill=next(numbers),
                softmax_ratio=next(numbers),
                nonpositive_exact=next(counts),
                hazards=filled(Hazards),
                weights=filled(WeightSummary, by_distance=((0, 0, 1.5, 2.5),)),
                output_rows=filled(RowSummary, by_position=((0, 0, 3.5),)),
                bounds={
                    name: filled(BoundSummary)
                    for name in ("rounding", "rounding_probable", *(["truncation"] if mechanism == "taylor" else []))
                },
                softmax_rounding=next(numbers),
                undefined=next(counts),
                digits=next(counts),
                without_digits=next(counts),
                features=next(counts),
                state_elements=next(counts),
                flops_per_token=next(counts),
            )
            run.write(str(key), record)
    return load_runs([path]).frame


def cell(frame: pd.DataFrame, mechanism: str, form: str, arithmetic: str, order: int | None = None) -> Any:
    chosen = frame[(frame["mechanism"] == mechanism) & (frame["form"] == form) & (frame["arithmetic"] == arithmetic)]
    return (chosen if order is None else chosen[chosen["order"] == order]).iloc[0]


def exact_text(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def test_every_column_shows_its_own_number(distinct: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("error_text", "skill_text"):  # two digits would hide which number it is
        monkeypatch.setattr(f"reports.tables.{name}", exact_text)
    curve = [cell(distinct, "taylor", "scores", "float32", order) for order in (0, 3, 5)]
    middle = sorted(own["total_relative"] for own in curve)[1]
    monkeypatch.setattr("reports.tables.THRESHOLDS", (middle, 1.0))
    (section,) = input_sections(distinct)
    facts = dict(section.facts)
    assert facts["heads x queries x keys"] == "13 x 11 x 12"
    assert (facts["d_k, d_v"], facts["scale"], facts["causal"], facts["rows"]) == ("8, 4", "0.5", "yes", "16")
    assert (facts["largest attended |logit|"], facts["standard deviation of the logits"]) == ("14", "15")
    assert facts["certified digits of exact values"] == f"at least {distinct['digits'].min()}"
    assert facts["constant state of log-exp"] == "40"
    variants = [(a, f) for a in ("float64", "float32") for f in ("scores", "packed")]
    for position, order in enumerate((0, 3, 5)):
        total = dict(zip(section.totals.columns, section.totals.rows[position], strict=True))
        rounding = dict(zip(section.roundings.columns, section.roundings.rows[position], strict=True))
        exact = distinct[distinct["order"] == order].iloc[0]
        assert (total["order"], total["terms"], total["features"]) == (
            str(order),
            str(order + 1),
            str(comb(8 + order, order)).replace("1287", "1,287"),
        )
        assert total["rows with Z <= 0"] == f"{exact['nonpositive_exact']} of 16"
        assert total["truncation"] == exact_text(exact["truncation_relative"])
        assert total["truncation max"] == exact_text(exact["truncation_max"])
        assert total["skill"] == exact_text(cell(distinct, "taylor", "scores", "float32", order)["skill"])
        assert (rounding["order"], rounding["terms"]) == (str(order), str(order + 1))
        for arithmetic, form in variants:
            own = cell(distinct, "taylor", form, arithmetic, order)
            assert total[f"total {arithmetic} {form}"] == exact_text(own["total_relative"])
            assert rounding[f"rounding {arithmetic} {form}"] == exact_text(own["rounding_relative"])
            assert rounding[f"Z <= 0 computed, {arithmetic} {form}"] == str(own["nonpositive_rows"])
    for row in section.others.rows:
        shown = dict(zip(section.others.columns, row, strict=True))
        own = cell(distinct, shown["mechanism"], shown["form"], shown["arithmetic"])
        deviation = "exact" if shown["mechanism"] == "softmax" else exact_text(own["deviation_relative"])
        assert (shown["deviation"], shown["rounding"]) == (deviation, exact_text(own["rounding_relative"]))
        assert (shown["total"], shown["skill"]) == (exact_text(own["total_relative"]), exact_text(own["skill"]))
        assert (shown["state"], shown["FLOPs/token"]) == (str(own["state_elements"]), str(own["flops_per_token"]))
    glance_row = glance_table(distinct)
    (row,) = glance_row.rows
    shown = dict(zip(glance_row.columns, row, strict=True))
    best = min(curve, key=lambda own: float(own["total_relative"]))
    assert (shown["largest |logit|"], shown["std of logits"], shown["d"]) == ("14", "15", "8")
    assert (shown["best order"], shown["its total error"]) == (str(best["order"]), exact_text(best["total_relative"]))
    assert shown["order 3: total"] == exact_text(curve[1]["total_relative"])
    assert shown["order 3: Z <= 0"] == f"{curve[1]['nonpositive_exact']} of 16"
    assert shown["log-exp deviation"] in {exact_text(x) for x in distinct["deviation_relative"].dropna()}
    enough = [own["order"] for own in curve if own["total_relative"] <= middle]
    assert shown[f"order for {middle:g}"] == str(enough[0])
    assert shown["order for 1"] == "none up to 5"
    assert shown["arithmetic"] == "float32 scores"


def test_every_curve_shows_its_own_numbers(distinct: pd.DataFrame) -> None:
    curve = [cell(distinct, "taylor", "scores", "float32", order) for order in (0, 3, 5)]
    axes = Canvas().subplots()
    _by_order(axes, distinct)
    solid, dashed, dotted = axes.lines
    for line, column in ((solid, "total_relative"), (dashed, "rounding_relative")):
        assert np.asarray(line.get_xdata()).tolist() == [0, 3, 5]
        assert np.asarray(line.get_ydata()).tolist() == [own[column] for own in curve]
    assert (solid.get_linestyle(), dashed.get_linestyle(), dotted.get_linestyle()) == ("-", "--", ":")
    assert (
        np.asarray(dotted.get_ydata()).tolist()[0] == cell(distinct, "softmax", "softmax", "float32")["total_relative"]
    )
    costs = [taylor_cost(8, order, 4) for order in (0, 3, 5)]
    for column, expected in (
        ("state_elements", [cost.state_elements for cost in costs]),
        ("flops_per_token", [cost.flops_per_token for cost in costs]),
    ):
        axes = Canvas().subplots()
        _by_cost(axes, distinct, column, column)
        exact, packed, *conventional = axes.lines
        assert np.asarray(exact.get_xdata()).tolist() == np.asarray(packed.get_xdata()).tolist() == expected
        firsts = [distinct[distinct["order"] == order].iloc[0] for order in (0, 3, 5)]
        assert np.asarray(exact.get_ydata()).tolist() == [own["truncation_relative"] for own in firsts]
        measured = [cell(distinct, "taylor", "packed", "float64", order) for order in (0, 3, 5)]
        assert np.asarray(packed.get_ydata()).tolist() == [own["total_relative"] for own in measured]
        conventionally = {float(x) for x in distinct[distinct["mechanism"] == "softmax"][column]}
        assert {np.asarray(line.get_xdata()).tolist()[0] for line in conventional} == conventionally


def test_what_a_logarithmic_axis_cannot_show_is_counted() -> None:
    drawn = Drawn()
    shown = drawn.points(pd.Series([1.0, 0.0, np.inf, 2.0]))
    assert (drawn.infinite, drawn.zero) == (1, 1)
    assert shown[[0, 3]].tolist() == [1.0, 2.0]
    assert np.isnan(shown[[1, 2]]).all()
    assert Drawn(1, 2, 3) + Drawn(10, 20, 30) == Drawn(11, 22, 33)


def test_costs_csv_is_the_cost_of_every_order_measured(small_run: Path, tmp_path: Path) -> None:
    write_report([small_run], tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "costs.csv").read_text())))
    assert [(row["head_size"], row["order"], row["features"]) for row in rows] == [
        (str(d), str(order), str(comb(d + order, order))) for d in (4, 8) for order in (0, 1, 3)
    ]
