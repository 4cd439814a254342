"""Figures of what strangers measure: hostile names, errors that are no numbers, nothing at all; and their files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from reports.figures import FORMATS, figures
from reports.figures.every import drawings, file_name
from reports.figures.material import Left, material, quantiles
from reports.figures.saving import saved
from reports.figures.style import house_style, shortened, wrapped
from reports.figures.terms import coefficient
from reports.figures.ticks import linear, logarithmic, number_label
from reports.frame import load_runs
from tests.reports.drawings import data, drawn, legend, lines, panel
from tests.reports.running import edited, renamed, swept
from verify.inputs import SyntheticInput

NASTY = "<script>alert('$\\frac{x}$')</script>&\x1b[2J\u202e\u05d0\u05d1 \u4e2d\u6587_" + "y" * 3000
STARTS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "plain.sqlite"
    return swept(path, ["softmax/softmax", "elu/stream", "taylor/scores"], arithmetics=("float32",))


def test_the_same_run_gives_the_same_bytes_in_every_format(small_run: Path) -> None:
    loaded = load_runs([small_run])

    def images() -> list[tuple[str, str, bytes]]:
        with house_style():
            first = itertools.islice(drawings(material(loaded)), 2)
            return [(one.name, kind, saved(one.canvas, kind)) for one in first for kind in FORMATS]

    once, again = images(), images()
    assert once == again
    for _, kind, content in once:
        assert content.startswith(STARTS[kind])
        assert not any(word in content for word in (b"dc:date", b"CreationDate", b"tIME"))
    pdf = next(content for _, kind, content in once if kind == "pdf")
    assert b"/FontFile2" in pdf  # the letters travel with the figure
    png = next(content for _, kind, content in once if kind == "png")
    assert int.from_bytes(png[16:20], "big") == 1040  # 5.2 inches at 200 dots each


def test_what_users_have_set_for_their_own_figures_changes_nothing(plain_run: Path) -> None:
    own = material(load_runs([plain_run]))

    def first() -> bytes:
        with house_style():
            return saved(next(drawings(own)).canvas, "svg")

    plain = first()
    with mpl.rc_context({"font.size": 30, "text.usetex": True, "axes.facecolor": "red", "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        assert first() == plain
        assert dict(mpl.rcParams) == before


def test_formats_are_those_asked_for(plain_run: Path) -> None:
    found = figures(load_runs([plain_run]), ["svg"])
    assert {kind for figure in found for kind in figure.images} == {"svg"}
    assert len({figure.name for figure in found}) == len(found)
    assert [figure.name for figure in found if figure.timing] == ["error_by_time"]
    for figure in found:
        ElementTree.fromstring(figure.images["svg"])
        assert len(figure.images["svg"]) < 100_000


def test_hostile_names_are_written_and_not_obeyed(plain_run: Path, tmp_path: Path) -> None:
    named = renamed(plain_run, tmp_path / "named.sqlite", "taylor", NASTY, "<b>$y$\r")
    path = edited(named, tmp_path / "run.sqlite", NASTY, descriptor=lambda about: about | {"formula_error": NASTY})
    with house_style():
        found = list(drawings(material(load_runs([path]))))
        images = [ElementTree.fromstring(saved(drawing.canvas, "svg")) for drawing in found]
    assert len(found) > 10
    for drawing, image in zip(found, images, strict=True):
        assert not [node for node in image.iter() if node.tag.endswith("script")]
        words = [drawing.title, drawing.caption, drawing.answer, *legend(drawing)]
        assert not any(mark in text for text in words for mark in ("\x1b", "\u202e", "\r"))
        assert all(len(text) < 500 for text in words)
    shown = "".join(text for image in images for node in image.iter() for text in [node.text or ""])
    assert "<b>$y$\\r" in shown


def test_names_of_inputs_keep_their_ends() -> None:
    assert shortened("a" * 49 + "bc") == "..." + "a" * 45 + "bc"
    assert len(shortened("\u4e2d" * 100)) < 30  # twice as wide
    assert shortened("_x") == " _x"
    assert shortened("") == " "
    assert shortened("x" * 10**6 + "\n").endswith("\\n")
    assert wrapped("normal:d=16,n=256,std=1,seed=0", 26) == "normal:d=16,n=256,std=1,\nseed=0"
    assert all(len(line) <= 26 for line in wrapped("z" * 200, 26).split("\n"))
    assert wrapped("z" * 200, 26).count("\n") == 1


def test_file_names_are_safe_and_different() -> None:
    taken = ["error_by_features_favor"]
    assert file_name("../a b\x00", taken) == "___a_b_"
    assert file_name("Error_by_features_favor", taken) == "Error_by_features_favor_2"
    assert len(file_name("x" * 1000, taken)) == 80


@pytest.mark.parametrize(("value", "word"), [("inf", "infinite"), ("nan", "infinite"), (0.0, "without any error")])
def test_errors_that_are_no_numbers_are_counted(plain_run: Path, tmp_path: Path, value: Any, word: str) -> None:
    def damaged(cell: dict[str, Any]) -> dict[str, Any]:
        errors = {name: own | {"relative": value} for name, own in cell["errors"].items()}
        rows = cell["output_rows"]
        spans = [[first, last, *[value] * 4] for first, last, *_ in rows["by_position"]]
        return cell | {"errors": errors, "histogram": [], "output_rows": rows | {"by_position": spans}}

    path = edited(plain_run, tmp_path / "run.sqlite", "taylor", record=damaged)
    found = drawn(path)
    for name in ("error_by_order", "formula_against_rounding_by_order", "error_by_position"):
        assert word in found[name].caption
    (line,) = lines(found["error_by_order"], "odd orders")
    assert np.isnan(data(line)[1]).all()
    wanted = "order 0 is the best" if value == 0.0 else "errors are infinite at every order"
    assert found["error_by_order"].answer.startswith(wanted)
    with house_style():
        assert all(saved(found[name].canvas, "svg") for name in ("error_by_order", "error_by_state"))


def test_without_measurements_there_are_no_figures(tmp_path: Path, plain_run: Path) -> None:
    bare: dict[str, Any] = {
        "status": "refused",
        "reason": "x",
        "errors": {},
        "bounds": {},
        "per_head": [],
        "counts": None,
    }
    bare |= {"output_rows": None, "weights": None, "hazards": None, "nonpositive_exact": None}
    path = plain_run
    for place, name in enumerate(("taylor", "elu", "softmax")):
        path = edited(path, tmp_path / f"{place}.sqlite", name, record=lambda cell: cell | bare)
    loaded = load_runs([path])
    assert set(loaded.frame["status"]) == {"refused"}
    assert figures(loaded) == []
    alone = swept(tmp_path / "softmax.sqlite", ["softmax/softmax"], arithmetics=("float32",))
    assert figures(load_runs([alone])) == []


def test_one_cell_has_figures_with_ticks(tmp_path: Path) -> None:
    path = swept(tmp_path / "run.sqlite", ["taylor/scores"], orders=(3,), arithmetics=("float32",))
    found = drawn(path)
    assert {"error_by_order", "weight_by_logit", "break_even", "multihead_costs"} <= set(found)
    assert not {"packing", "terms"} & set(found)  # nothing to draw along
    for drawing in found.values():
        for axes in drawing.canvas.axes:
            low, high = axes.get_ylim()
            assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2, drawing.name


def test_what_has_no_room_is_said(tmp_path: Path) -> None:
    inputs = [SyntheticInput("normal", size, 5) for size in range(1, 10)]
    plans = ["softmax/softmax", "taylor/scores"]
    path = swept(tmp_path / "run.sqlite", plans, inputs=inputs, orders=(0, 1), arithmetics=("float32",))
    found = drawn(path)
    for name in ("error_by_order", "formula_against_rounding_by_order", "hazards_by_order", "error_by_state"):
        assert "Left out, and in the tables: 2 more inputs." in found[name].caption
    assert "Left out, and in the tables: 5 more inputs." in found["error_by_position"].caption
    assert "Left out, and in the tables: 2 more curves." in found["break_even"].caption
    shown = [text for text in legend(found["error_by_order"]) if text.startswith("normal")]
    assert len(shown) == len({line.get_color() for line in panel(found["error_by_order"]).lines} - {"#BBBBBB"}) == 7


def test_logarithmic_axes_have_labels_where_they_span_little() -> None:
    for low, high in ((1.0, 1.0), (2.1, 2.4), (3e-8, 9e-8), (1e-300, 1e300), (0.5, 40.0), (7e-4, 0.03)):
        axes = Canvas().subplots()
        limits = logarithmic(axes, "y", [[low, np.nan], [high]])
        ticks = [tick for tick in axes.get_yticks() if limits[0] <= tick <= limits[1]]
        assert 2 <= len(ticks) <= 12, (low, high)
        assert limits[0] < low <= high < limits[1]
        assert [text.get_text() for text in axes.get_yticklabels()] == [
            number_label(tick) for tick in axes.get_yticks()
        ]
    axes = Canvas().subplots()
    linear(axes, "x", [3], whole=True)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3"]
    assert [number_label(x) for x in (0.0, 1e-3, 0.02, 5000, 1e4, 3e-20)] == [
        "0",
        "1e-3",
        "0.02",
        "5000",
        "1e4",
        "3e-20",
    ]


def test_what_a_logarithmic_axis_cannot_show_is_counted() -> None:
    left = Left()
    shown = left.positive([1.0, 0.0, np.inf, 2.0, np.nan, 1e-310])
    assert (left.infinite, left.zero) == (2, 2)
    assert shown[[0, 3]].tolist() == [1.0, 2.0]
    assert np.isnan(shown[[1, 2, 4, 5]]).all()
    assert left.sentences() == " Not drawn: 2 points with an infinite error. Not drawn: 2 points without any error."


def test_quantiles_are_members_of_the_sample() -> None:
    numbers = np.random.Generator(np.random.PCG64(0)).normal(size=(37, 3))
    wanted = np.quantile(numbers, [0.05, 0.5, 0.95], axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(quantiles(numbers), wanted)
    assert quantiles(np.array([4.0])).tolist() == [4.0, 4.0, 4.0]


def test_coefficients_are_read_as_they_are_written() -> None:
    texts = ["1", "-1/16", "1/sqrt(8)", "1/(48 sqrt(8))", "3/7", None, "x", "1/0", f"1/{10**400}"]
    wanted = [1.0, 1 / 16, 8**-0.5, 1 / (48 * 8**0.5), 3 / 7, None, None, None, 0.0]
    for text, number in zip(texts, wanted, strict=True):
        assert coefficient(text) == (None if number is None else pytest.approx(number, rel=1e-15))
