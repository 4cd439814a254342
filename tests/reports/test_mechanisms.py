"""Reports on several mechanisms, with options, not installed, and with names that strangers chose."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from reports.answers import answers
from reports.cells import label_column
from reports.crossing import crossing_table
from reports.curves import labels_of, leading_curves
from reports.figures import figures
from reports.frame import load_runs
from reports.hazards import bound_table, distance_table, position_table
from reports.heat import answer_table, heat_table
from reports.sentence import answered
from reports.tables import input_sections
from reports.text import error_text, escape_markdown, printable
from reports.write import write_report
from tests.reports.pages import Page
from tests.reports.running import cells_of, edited, renamed, rows, swept
from verify.errors import InvalidRequestError

PLANS = ["softmax/softmax", "logexp/stream", "elu/pairs", "taylor/packed", "taylor/packed:side=both,degrees=apart"]
PLANS += ["power:degree=2/packed", "power:degree=4/packed", "favor:features=4", "favor:features=8", "favor:seed=1"]

NASTY = "<img src=x onerror=alert(1)>|`$x$`*_&/..\x1b[2J\n"
NASTY_AXIS = "<b>|$y$\r"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three mechanisms that have an axis, one of them in two series, and three that have none."""
    return swept(tmp_path_factory.mktemp("runs") / "several.sqlite", PLANS)


def test_the_frame_has_what_strangers_declare(several: Path) -> None:
    loaded = load_runs([several])
    frame = loaded.frame
    assert list(loaded.mechanisms) == ["elu", "favor", "logexp", "power", "softmax", "taylor"]
    taylor, favor = (frame[frame["mechanism"] == name] for name in ("taylor", "favor"))
    assert set(taylor["variant"]) == {"packed", "packed:side=both,degrees=apart"}
    assert set(taylor["options"]) == {"", "side=both,degrees=apart"}
    assert taylor["along"].tolist() == taylor["order"].tolist()
    assert (taylor["terms"] == taylor["order"] + 1).all()
    assert set(favor["series"]) == {"favor:seed=0", "favor:seed=1"}
    assert favor["along"].tolist() == favor["parameter_features"].tolist()
    assert labels_of(cells_of(favor)) == [("features", "parameter_features"), ("seed", "seed")]
    assert labels_of(cells_of(taylor)) == [("order", "order"), ("terms", "terms")]
    assert favor[favor["form"] == "stream"]["features"].tolist() == favor[favor["form"] == "stream"]["along"].tolist()
    softmax = frame[frame["mechanism"] == "softmax"]
    assert softmax[["axis", "along", "formula_error", "formula_relative"]].isna().all().all()
    assert dict(frame.groupby("mechanism")["formula_error"].first())["taylor"] == "truncation"
    assert list(frame.columns).index("order") < list(frame.columns).index("degree")


def test_labels_never_hide_a_column() -> None:
    assert label_column("order") == "order"
    taken = ["features", "total_relative", "parameter_features", "label", "seconds", "axis", "form_place"]
    assert [label_column(name) for name in taken] == [f"parameter_{name}" for name in taken]


def test_variants_with_options_are_columns_of_their_own(several: Path) -> None:
    runs = load_runs([several])
    frame = runs.frame
    sections = {section.mechanism: section for section in input_sections(runs, answers(runs))[0].mechanisms}
    assert list(sections) == ["favor", "power", "taylor"]
    shown = rows(sections["taylor"].totals)
    assert [(row["order"], row["terms"]) for row in shown] == [("0", "1"), ("1", "2"), ("3", "4")]
    for row, rounding in zip(shown, rows(sections["taylor"].roundings), strict=True):
        for variant in ("packed", "packed:side=both,degrees=apart"):
            for arithmetic in ("float64", "float32"):
                chosen = frame[(frame["order"] == int(row["order"])) & (frame["variant"] == variant)]
                (own,) = (cell for _, cell in chosen[chosen["arithmetic"] == arithmetic].iterrows())
                assert row[f"total {arithmetic} {variant}"] == error_text(own["total_relative"])
                assert rounding[f"rounding {arithmetic} {variant}"] == error_text(own["rounding_relative"])
    favor = rows(sections["favor"].totals)
    assert [(row["features"], row["seed"]) for row in favor] == [("4", "0"), ("8", "0"), ("64", "1")]
    assert [row["features per key"] for row in favor] == ["4", "8", "64"]
    assert "deviation" in favor[0]


def test_every_mechanism_has_its_tables_and_figures(several: Path) -> None:
    runs = load_runs([several])
    frame = runs.frame
    answer = answers(runs)[-1]
    assert answer.series == ["favor:seed=0", "favor:seed=1", "power", "taylor", "elu", "logexp"]
    own = frame[(frame["variant"] == "packed") & (frame["arithmetic"] == "float32") & (frame["axis"] == "order")]
    best = own.iloc[int(own["total_relative"].to_numpy().argmin())]
    found = answer.best(answer.subjects[0], "taylor")
    assert found is not None
    assert (found[0].place, found[1].error) == (f"order {best['order']}", best["total_relative"])
    heat = heat_table(answer)
    assert [(name, axis, list(headings)) for name, axis, headings in heat.groups] == [
        ("favor:seed=0", "features", ["4", "8"]),
        ("favor:seed=1", "features", ["64"]),
        ("power", "degree", ["2", "4"]),
        ("taylor", "order", ["0", "1", "3"]),
        *(("elu", "", ["elu"]), ("logexp", "", ["logexp"])),
    ]
    (row,) = rows(answer_table(answer, tolerance=10.0))
    assert row["1,000 % at"].startswith("favor:seed=0 features 4, ")
    assert row["1,000 % at"].endswith(", elu, logexp")
    crossing = rows(crossing_table(leading_curves(frame, ["formula_relative", "softmax_rounding"])))
    assert [row["mechanism"] for row in crossing] == ["favor:seed=0", "favor:seed=1", "power", "taylor"]
    names = [figure.name for figure in figures(runs, ())]
    assert {name for name in names if name.startswith("error_by")} == {
        *("error_by_features_favor", "error_by_degree_power", "error_by_order_taylor"),
        *("error_by_state", "error_by_flops", "error_by_time", "error_by_position"),
    }
    assert {name for name in names if name.startswith(("packing", "terms"))} == {
        *("packing_power", "packing_taylor", "terms_power", "terms_taylor")
    }
    for table in (bound_table, position_table, distance_table):
        assert {"taylor:order=3", "favor:features=4,seed=0", "elu"} <= {
            row["mechanism"] for row in rows(table(cells_of(runs.places.with_nested(frame))))
        }
    others = rows(input_sections(runs, answers(runs))[0].others)
    assert {row["mechanism"]: row["deviation"] == "exact" for row in others} == {
        "elu": False,
        "logexp": False,
        "softmax": True,
    }


@pytest.mark.usefixtures("undrawn")
def test_one_mechanism_alone_names_the_columns(tmp_path: Path) -> None:
    path = swept(tmp_path / "run.sqlite", ["softmax/softmax", "elu", "power:degree=2", "power:degree=4"])
    runs = load_runs([path])
    sentence = answered(answers(runs)[-1], 1e-2)
    assert sentence == "Within 1 % of softmax in float32: power on none of 1 input at degree 2, 4; elu on none."
    names = [figure.name for figure in figures(runs, ())]
    assert {"error_by_degree", "hazards_by_degree", "packing", "terms"} <= set(names)
    assert {"break_even_elu", "break_even_power"} <= set(names)  # both have features
    page = Page(write_report([path], tmp_path / "report").page.read_text()).text
    assert "Deviation below softmax's own rounding" in page
    assert "power: total error by degree" in page
    assert "an even power of the logit".capitalize() in page
    assert "taylor" not in page.lower()


@pytest.mark.usefixtures("undrawn")
def test_a_mechanism_that_is_not_installed_is_reported_all_the_same(several: Path, tmp_path: Path) -> None:
    other = renamed(several, tmp_path / "several.sqlite", "power", "nosuch")
    write_report([several], tmp_path / "one")
    write_report([other], tmp_path / "other")
    one, same = ((tmp_path / name / "report.md").read_text() for name in ("one", "other"))
    assert "nosuch" in same

    def plain(text: str) -> str:  # columns are as wide as what stands in them
        return re.sub("[ :-]", "", text)

    assert plain(same) == plain(one.replace("power", "nosuch").replace("Power", "Nosuch"))


@pytest.mark.usefixtures("unsaved")
def test_hostile_names_of_mechanisms_are_shown_and_not_obeyed(several: Path, tmp_path: Path) -> None:
    more = {"description": NASTY, "source": NASTY, "formula_error": NASTY}
    named = renamed(several, tmp_path / "named.sqlite", "power", NASTY, NASTY_AXIS)
    path = edited(named, tmp_path / "run.sqlite", NASTY, descriptor=lambda about: about | more)
    written = write_report([path], tmp_path / "report")
    page = Page(written.page.read_text())
    assert page.tags.count("img") == len([file for file in written.files if file.suffix == ".svg"])
    assert "b" not in page.tags
    assert printable(NASTY) in page.text
    assert printable(NASTY_AXIS) in page.text
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert escape_markdown(NASTY) in markdown
    assert not re.search("<img|<b>", markdown)
    assert not re.search("\x1b|\r", markdown + written.page.read_bytes().decode())
    for block in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):  # no name breaks a table
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    for file in written.files:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", file.name)
        assert file.resolve().is_relative_to((tmp_path / "report").resolve())
    text = (tmp_path / "report" / "cells.csv").read_text()
    assert "\x1b" not in text
    cells = list(csv.DictReader(io.StringIO(text)))
    assert len(cells) == len(load_runs([path]).frame)
    assert {cell["mechanism"] for cell in cells} >= {printable(NASTY), "taylor"}
    assert printable(NASTY_AXIS) in cells[0]


@pytest.mark.parametrize(
    ("descriptor", "record"),
    [
        ({"name": "other"}, {}),
        ({"name": 3}, {}),
        ({"description": None}, {}),
        ({"parameters": "order"}, {}),
        ({"forms": [1]}, {}),
        ({"axis": "nosuch"}, {}),
        ({"axis": 1}, {}),
        ({"axis": []}, {}),
        ({"proposed": "3"}, {}),
        ({"proposed": True}, {}),
        ({"formula_error": ""}, {}),
        ({"formula_error": 1}, {}),
        ({"formula_error": None}, {}),
        ({"extra": 1}, {}),
        ({}, {"labels": {}}),
        ({}, {"labels": {"order": "many"}}),
        ({}, {"labels": {"order": True}}),
        ({}, {"labels": {"order": 10**400}}),
        ({}, {"mechanism": "nosuch", "member": "nosuch"}),
    ],
)
def test_damaged_descriptions_are_refused_in_one_line(
    several: Path, tmp_path: Path, descriptor: dict[str, Any], record: dict[str, Any]
) -> None:
    path = tmp_path / "run.sqlite"
    edited(several, path, "taylor", descriptor=lambda old: old | descriptor, record=lambda old: old | record)
    with pytest.raises(InvalidRequestError, match="which is damaged") as caught:
        load_runs([path])
    assert "\n" not in str(caught.value)


def test_runs_that_draw_a_mechanism_along_different_axes_are_refused(several: Path, tmp_path: Path) -> None:
    other = renamed(several, tmp_path / "other.sqlite", "taylor", "taylor", "degree")
    with pytest.raises(InvalidRequestError, match="mechanism 'taylor' differs in its axis"):
        load_runs([several, other])
