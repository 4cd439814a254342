"""The page of a report: colours that everybody tells apart, the same bytes twice, and whatever a run may hold."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.text import BANDS
from reports.write import write_report
from tests.cli.running import run
from tests.conftest import SMALL_SPEC
from tests.reports.pages import Page
from tests.reports.running import swept
from tests.run_files import rewrite
from verify.errors import InvalidRequestError
from verify.inputs import SyntheticInput
from verify.parallel.executors import InProcessExecutor
from verify.sweep import RunFile, SweepSpec, run_sweep

TEMPLATE = Path(__file__).parents[2] / "reports" / "templates" / "page.html.j2"


def colours() -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return background and text of every band, linear light in sRGB's primaries, best band first."""
    found = re.findall(r"\.h(\d) \{ background: #(\w+); color: #(\w+); \}", TEMPLATE.read_text())
    assert [int(band) for band, *_ in found] == list(range(len(BANDS) + 1))
    return [(linear(back), linear(text)) for _, back, text in found]


def linear(colour: str) -> NDArray[np.float64]:
    digits = colour if len(colour) == 6 else "".join(2 * c for c in colour)
    c = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def test_every_number_stands_out_from_its_colour() -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])  # relative luminance, WCAG 2
    for pair in colours():
        low, high = sorted(float(weights @ colour) for colour in pair)
        assert (high + 0.05) / (low + 0.05) >= 4.5


# Machado, Oliveira and Fernandes (IEEE TVCG 15(6), 2009), complete deficiency, on linear light.
SIGHTS = {
    "all cones": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "grey": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}


def lab(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE L*a*b* of linear light, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = to_xyz @ np.clip(colour, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHTS)
def test_bands_are_told_apart_by_every_eye(sight: str) -> None:
    """A difference of 2.3 in L*a*b* is just noticeable; those of neighbours are at least five times that.

    Good and bad ends of the scale are as dark as each other, and so alike in grey: there the number says which it is.
    """
    found = [lab(SIGHTS[sight] @ back) for back, _ in colours()]
    pairs = itertools.pairwise(found) if sight == "grey" else itertools.combinations(found, 2)
    assert min(float(np.linalg.norm(one - other)) for one, other in pairs) >= 5 * 2.3


def varying(path: Path) -> bytes:
    text = path.read_text()
    marked = re.findall(r'<section id="varies">.*?</section>', text, re.DOTALL)
    assert len(marked) == 1
    return text.replace(marked[0], "").encode()


def test_the_same_run_twice_gives_the_same_bytes_but_for_one_marked_block(tmp_path: Path) -> None:
    written = []
    for name in ("one", "other"):
        spec = SweepSpec(SMALL_SPEC.inputs[:2], SMALL_SPEC.plans, (0, 1, 2), ("float64", "float32"))
        path = tmp_path / name / "run.sqlite"
        run_sweep(spec, lambda path=path: RunFile(path, write=True), InProcessExecutor, started=name, command="x")  # type: ignore[misc]
        written.append(write_report([path], tmp_path / name / "report"))
    timed = {"timings.csv", "error_by_time.svg"}
    for one, other in zip(*(found.files for found in written), strict=True):
        assert one.name == other.name
        if one.name == "report.html":
            assert varying(one) == varying(other)
            assert one.read_bytes() != other.read_bytes()  # when they were started, at least
        elif one.name == "report.md":
            assert one.read_text().partition("## Provenance")[0] == other.read_text().partition("## Provenance")[0]
        elif one.name not in timed:
            assert one.read_bytes() == other.read_bytes(), one.name


def changed(source: Path, target: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """Return a copy of a run file with every record edited."""
    target.write_bytes(source.read_bytes())
    rewrite(target, edit)
    return target


UNMEASURED: dict[str, Any] = {
    "errors": {},
    "bounds": {},
    "per_head": [],
    "histogram": [],
    **dict.fromkeys(("output_rows", "weights", "hazards", "nonpositive_exact", "undefined", "digits", "skill")),
}


@pytest.mark.parametrize("status", ["refused", "failed", "crashed"])
def test_a_run_in_which_nothing_was_measured(status: str, small_run: Path, tmp_path: Path, undrawn: None) -> None:
    path = changed(
        small_run,
        tmp_path / "run.sqlite",
        lambda old: old | UNMEASURED | {"status": status, "reason": "too <b>large</b>"},
    )
    written = write_report([path], tmp_path / "report")
    text = written.page.read_text()
    page = Page(text)
    assert "b" not in page.tags
    assert "too <b>large</b>" in page.text
    assert f"32 cells (32 {status}), for 1 cause" in page.text
    title = re.search("<title>(.*)</title>", text)
    assert title is not None
    assert "taylor on none of 2 inputs (2 inputs not measured)" in title[1]  # no miss, and no orders either
    assert "up to order" not in title[1]
    assert (tmp_path / "report" / "cells.csv").read_text().count("\n") == 33


def test_one_record_alone(tmp_path: Path) -> None:
    inputs = (SyntheticInput("normal", 2, 3),)
    path = swept(tmp_path / "run.sqlite", ["taylor/scores"], inputs=inputs, orders=(0,), arithmetics=("float64",))
    page = write_report([path], tmp_path / "report").page.read_text()
    assert "1 cell, 1 input" in page
    assert re.search(
        "<title>The input (reaches|does not reach) 1 % with taylor,? at order 0, in float64.</title>", page
    )


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "=cmd|'/c calc'!A1",
        "x" * 3000,
        "\u202egnp.exe",
        "a\nb\x1b[2J",
        '" onload="x',
        "&lt;",
    ],
)
def test_names_of_inputs_are_shown_and_not_obeyed(name: str, small_run: Path, tmp_path: Path, undrawn: None) -> None:
    path = changed(small_run, tmp_path / "run.sqlite", lambda old: old | {"input": name})
    written = write_report([path], tmp_path / "report")
    text = written.page.read_text()
    page = Page(text)
    assert page.tags.count("script") == 1
    assert not any(name.startswith("on") for name in page.attributes)
    for file in written.files:
        if file.suffix in (".html", ".md", ".csv"):
            assert not re.search("[\x1b\u202e]", file.read_bytes().decode()), file.name
    cells = (tmp_path / "report" / "cells.csv").read_text().splitlines()
    assert not any(field.startswith(("=", '"=')) for line in cells for field in line.split(","))


def test_folders_that_cannot_be_written_are_left_as_they_were(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        code, printed, said = run(capsys, "report", str(small_run), "--out", str(out))
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert "--out" in said
        assert file.read_text() == "mine"
    folder = tmp_path / "report"
    assert run(capsys, "report", str(small_run), "--out", str(folder))[0] == 0
    before = {path.name: path.read_bytes() for path in folder.glob("*.*")}

    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reports.write.write_csv", full)
    for out in (folder, tmp_path / "new"):
        code, printed, said = run(capsys, "report", str(small_run), "--out", str(out))
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert "No space left on device" in said
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")} == before
    assert not (tmp_path / "new").exists()
    with pytest.raises(InvalidRequestError, match="No space left"):
        write_report([small_run], folder)


def test_a_report_does_not_write_over_what_it_reads(small_run: Path, tmp_path: Path, undrawn: None) -> None:
    own = tmp_path / "cells.csv"
    own.write_bytes(small_run.read_bytes())
    with pytest.raises(InvalidRequestError, match="where the report would write"):
        write_report([own], tmp_path)
    assert own.read_bytes() == small_run.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.csv"]
