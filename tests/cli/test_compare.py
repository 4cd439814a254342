"""attnproof compare: runs that are equal, that differ by noise, and that differ by more."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reports.frame import load_runs
from tests.cli.running import run
from tests.own import written
from tests.reports.running import swept
from tests.run_files import rewrite
from verify.errors import InvalidRequestError
from verify.inputs import SyntheticInput
from verify.sweep.compare import compare_runs
from verify.sweep.conditions import condition
from verify.sweep.statistics import statistic_names

Cell = dict[str, Any]
Edit = Callable[[Cell], object]

INPUTS = [SyntheticInput("normal", 4, 9), SyntheticInput("needle", 4, 9)]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two inputs, two mechanisms and two arithmetics."""
    path = tmp_path_factory.mktemp("runs") / "before.sqlite"
    return swept(path, ["softmax/softmax", "taylor/packed"], inputs=INPUTS, orders=(1, 2))


def copied(source: Path, target: Path, edit: Edit = lambda cell: None, *, other_code: bool = True) -> Path:
    """Return a copy of a run in which cells are edited, as if other code had measured them, or the same."""
    shutil.copy(source, target)

    def edited(cell: Cell) -> Cell:
        edit(cell)
        return cell

    rewrite(target, edited)
    with closing(sqlite3.connect(target)) as file, file:
        if other_code:
            file.execute("UPDATE cell SET key = 'other ' || key")
    return target


def of_taylor(edit: Edit, order: int = 2) -> Edit:
    return lambda cell: edit(cell) if cell["labels"].get("order") == order else None


def times(error: str, factor: float, *, also: str = "") -> Edit:
    """Multiply an error, and what of another error goes with it, by a factor."""

    def edit(cell: Cell) -> None:
        for name in ("max", "rms", "relative", "q05", "q25", "q50", "q75", "q95", "q99"):
            grown = cell["errors"][error][name] * (factor - 1.0)
            for each in filter(None, (error, also)):
                cell["errors"][each][name] += grown
        for head in cell["per_head"]:
            grown = head[error] * (factor - 1.0)
            for each in filter(None, (error, also)):
                head[each] += grown

    return of_taylor(edit)


def with_error(error: str, **changes: object) -> Edit:
    return of_taylor(lambda cell: cell["errors"][error].update(changes))


def with_bound(bound: str, **changes: object) -> Edit:
    return of_taylor(lambda cell: cell["bounds"][bound].update(changes))


def test_equal_runs_are_equal(before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = swept(tmp_path / "again.sqlite", ["softmax/softmax", "taylor/packed"], inputs=INPUTS, orders=(1, 2))
    code, printed, said = run(capsys, "compare", before, again, "--columns", 1000)
    assert (code, said) == (0, "")
    assert printed.endswith("12 cells in both\nnothing changed: every number is equal in 12 cells\n")
    document = json.loads(run(capsys, "compare", before, again, "--json")[1])
    assert (document["common"], document["same_code"], document["equal"], document["changes"]) == (12, 12, 12, [])
    assert run(capsys, "compare", before, again, "--fail-if", "total_max > 1.1x")[0] == 0


# A polynomial of the logits whose coefficient of s^2 is right, or not.
POLYNOMIAL = (
    'f.exp(s) + s ** member["order"] / 64\n',
    'sum((f.ratio(c) * s**p for p, c in enumerate(COEFFICIENTS[: member["order"] + 1])), start=f.ratio(Fraction(0)))\n',
)
NUMBERS = (
    "from fractions import Fraction\n\nCOEFFICIENTS = [Fraction(1), Fraction(1), Fraction(1, 2), Fraction(1, 6)]\n"
)


def test_a_planted_coefficient_is_named_with_its_order_and_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    right = (("from verify.arguments", f"{NUMBERS}\nfrom verify.arguments"), POLYNOMIAL)
    sweep = ["sweep", "--jobs", "0", "--input", "normal", "--input", "needle", "--head-sizes", "3", "--tokens", "6"]
    sweep += ["--logit-std", "1", "--mechanisms", "softmax/softmax,mine:order=1:3:2", "--arithmetic", "float64"]
    for name, changes in (("a", right), ("b", (*right, ("Fraction(1, 6)", "Fraction(1, 7)")))):
        mine = written(tmp_path, *changes)
        assert run(capsys, *sweep, "--mechanism", mine, "--out", f"{name}.sqlite")[0] == 0
    code, printed, said = run(capsys, "compare", "a.sqlite", "b.sqlite")
    assert (code, said) == (1, "")
    lines = printed.splitlines()
    assert "differs: code: of mine" in lines
    assert "changed: 2 cells of 6 in both" in lines  # order 1 has no such coefficient
    (told,) = [line for line in lines if line.startswith("mine:")]
    assert told.startswith("mine:order=3: formula_relative from ")
    assert "and 1 other input" in printed
    assert max(map(len, lines)) <= 80
    changes = json.loads(run(capsys, "compare", "a.sqlite", "b.sqlite", "--json")[1])["changes"]
    assert {(each["mechanism"], each["axis"], each["along"]) for each in changes} == {("mine", "order", 3)}
    assert {each["input"].partition(":")[0] for each in changes} == {"normal", "needle"}
    worst = max(each["ratio"] for each in changes if each["what"] == "formula_relative")
    limits = [(f"formula_relative > {worst * 0.99}x", 1), (f"formula_relative > {worst * 1.01}x", 0)]
    limits += [("features > 1x", 2), ("formula_relative < 0", 0), ("nonpositive_exact >= 0", 1)]
    for text, expected in limits:
        assert run(capsys, "compare", "a.sqlite", "b.sqlite", "--fail-if", text)[0] == expected, text


def test_a_run_of_nothing_but_nan_is_rejected(before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lost(cell: Cell) -> None:
        for summary in cell["errors"].values():
            summary |= {name: "nan" for name, value in summary.items() if isinstance(value, float)}

    nothing = copied(before, tmp_path / "nothing.sqlite", lost)
    infinite = copied(
        before, tmp_path / "infinite.sqlite", of_taylor(lambda cell: cell["errors"]["total"].update(max="inf"))
    )
    for other in (nothing, infinite):
        code, printed, _ = run(capsys, "compare", before, other)
        assert code == 1
        assert "no finite error in " in printed
    same = copied(nothing, tmp_path / "same.sqlite")
    assert "no finite error in 12 cells of the second run" in run(capsys, "compare", nothing, same)[1]
    for text in ("total_max > 1.1x", "total_max < 1e9", "total_relative >= 2", "rounding_q50 != 0", "total_max <= 2x"):
        assert run(capsys, "compare", before, nothing, "--fail-if", text)[0] == 1, text
        assert run(capsys, "compare", nothing, same, "--fail-if", text)[0] == 1, text


NOISE: dict[str, Edit] = {
    "nothing": lambda cell: None,
    "other roundings, and totals with them": times("rounding", 2.5, also="total"),
    "no rounding where there were a few units in the last place": times("rounding", 0.0),
    "the last bits of a summary": times("formula", 1.0 + 2.0**-51),
    "more certified digits": lambda cell: cell.update(digits=cell["digits"] + 9),
    "additions lost on another way": lambda cell: cell["hazards"].update(lost_additions=7),
}


@pytest.mark.parametrize("edit", NOISE.values(), ids=NOISE.keys())
def test_noise_is_no_change(edit: Edit, before: Path, tmp_path: Path) -> None:
    found = compare_runs(before, copied(before, tmp_path / "noise.sqlite", edit))
    assert found.changes == ()
    assert found.same_code == 0


def test_the_same_code_has_no_noise(before: Path, tmp_path: Path) -> None:
    def last_bit(cell: Cell) -> None:
        cell["errors"]["rounding"]["rms"] = math.nextafter(cell["errors"]["rounding"]["rms"], 1.0)

    def position(cell: Cell) -> None:
        cell["output_rows"]["by_position"][0][2] += 1e-9

    for edit, what in ((last_bit, "rounding_rms"), (position, "output_rows")):
        changed = copied(before, tmp_path / f"{what}.sqlite", of_taylor(edit), other_code=False)
        found = compare_runs(before, changed)
        assert {change.what for change in found.changes} == {what}
        assert (found.changed, found.same_code, found.equal) == (4, 12, 8)


CHANGED: dict[str, tuple[Edit, str]] = {
    "a formula": (times("formula", 1.0 + 1e-9), "formula_relative"),
    "quantisation": (
        of_taylor(lambda cell: cell["errors"]["quantisation"].update(relative=1e-3)),
        "quantisation_relative",
    ),
    "another rounding": (times("rounding", 1e4), "rounding_relative"),
    "a total that no rounding explains": (times("total", 1.01), "total_relative"),
    "one head": (of_taylor(lambda cell: cell["per_head"][0].update(formula=0.5)), "formula of head []"),
    "a total without end": (with_error("total", max="inf"), "total_max"),
    "features": (of_taylor(lambda cell: cell.update(features=cell["features"] + 1)), "features"),
    "rows with Z <= 0": (of_taylor(lambda cell: cell.update(nonpositive_exact=5)), "nonpositive_exact"),
    "costs": (of_taylor(lambda cell: cell["counts"].update(terms=9)), "counts"),
    "a bound": (with_bound("rounding", relative=1.0), "rounding_bound_relative"),
    "without a bound": (
        of_taylor(lambda cell: cell["bounds"]["formula"].update(unbounded=3)),
        "formula_bound_unbounded",
    ),
}


@pytest.mark.parametrize(("edit", "what"), CHANGED.values(), ids=CHANGED.keys())
def test_what_is_more_than_noise_is_named(
    edit: Edit, what: str, before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copied(before, tmp_path / "changed.sqlite", edit)
    found = compare_runs(before, changed)
    assert what in {change.what for change in found.changes}
    assert {(change.member, change.along) for change in found.changes} == {("taylor:order=2", 2)}
    code, printed, _ = run(capsys, "compare", before, changed, "--columns", 1000)
    assert code == 1
    assert "\ntaylor:order=2: " in printed
    assert "normal:d=4,n=9,std=1,seed=0" in printed or "needle" in printed
    assert "taylor:order=1" not in printed


def refused(cell: Cell) -> None:
    empty: Cell = {"errors": {}, "bounds": {}, "per_head": [], "histogram": []}
    gone = ["undefined", "digits", "without_digits"]
    gone += ["skill", "softmax_ratio", "softmax_rounding", "output_rows", "weights", "hazards", "nonpositive_exact"]
    cell |= {"status": "failed", "reason": "why", **empty, **dict.fromkeys(gone)}


def test_how_cells_ended_and_where_they_are_is_named(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = copied(before, tmp_path / "failed.sqlite", of_taylor(refused))
    code, printed, _ = run(capsys, "compare", before, failed, "--columns", 1000)
    assert code == 1
    assert "taylor:order=2: status from ok to failed; in 4 cells of needle" in printed
    code, printed, _ = run(capsys, "compare", before, failed, "--fail-if", "total_max > 1e9", "--columns", 1000)
    assert code == 1  # a number that is gone has not passed
    assert "taylor:order=2: total_max from " in printed
    assert run(capsys, "compare", failed, before, "--fail-if", "total_max > 1e9x")[0] == 0
    fewer = copied(before, tmp_path / "fewer.sqlite")
    with closing(sqlite3.connect(fewer)) as file, file:
        file.execute("DELETE FROM cell WHERE json_extract(labels, '$.order') = 1")
    code, printed, _ = run(capsys, "compare", before, fewer, "--columns", 1000)
    assert code == 1
    assert "taylor:order=1: only in the first (ok); in 4 cells of " in printed
    assert f"{fewer} holds 8 of the 12 cells of its last sweep, which was interrupted" in printed
    assert "only in the second" in run(capsys, "compare", fewer, before, "--columns", 1000)[1]
    assert run(capsys, "compare", before, fewer, "--fail-if", "total_max > 1.1x")[0] == 1  # nobody can tell
    assert run(capsys, "compare", fewer, before, "--fail-if", "total_max > 1.1x")[0] == 0


def test_machines_and_versions_are_named(before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # the same code, of which another machine makes other roundings
    other = copied(before, tmp_path / "other.sqlite", times("rounding", 2.5, also="total"), other_code=False)
    with closing(sqlite3.connect(other)) as file, file:
        provenance = json.loads(file.execute("SELECT provenance FROM session").fetchone()[0])
        provenance["machine"] |= {"processor": "an abacus", "code": "other"}
        provenance["machine"]["versions"]["numpy"] = "1.0"
        file.execute("UPDATE session SET provenance = ?", (json.dumps(provenance),))
    code, printed, _ = run(capsys, "compare", before, other, "--columns", 1000)
    assert code == 0
    assert " and 1.0\n" in printed
    assert " and an abacus\n" in printed
    assert "differs: code: of what measures" in printed
    assert printed.endswith("nothing changed: every number is equal in 8 cells, differences within noise in 4 cells\n")


def test_what_cannot_be_compared_is_said_in_a_line(
    before: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = copied(before, tmp_path / "damaged.sqlite")
    with closing(sqlite3.connect(damaged)) as file, file:
        file.execute("UPDATE cell SET total_rms = 'much'")
    torn = copied(before, tmp_path / "torn.sqlite")
    with closing(sqlite3.connect(torn)) as file, file:
        file.execute("UPDATE cell SET options = substr(options, 1, 1)")
    (tmp_path / "link.sqlite").symlink_to(before)
    (tmp_path / "text.sqlite").write_text("no run")
    for other, message in (
        (before, "twice; expected two run files"),
        (tmp_path / "link.sqlite", "twice; expected two run files"),
        (small_run, "without a cell in common"),
        (damaged, "which is damaged"),
        (torn, "which is damaged"),
        (tmp_path / "text.sqlite", "cannot be read"),
        (tmp_path / "absent.sqlite", "no run file"),
    ):
        code, printed, said = run(capsys, "compare", before, other)
        assert (code, printed, said.count("\n")) == (2, "", 1), message
        assert message in said
    for more, message in (
        (["--fail-if", "total_mx > 1"], "unknown statistic 'total_mx'; expected a number"),
        (["--fail-if", "total_mx > 1"], "did you mean total_max? (--fail-if)"),
        (["--fail-if", "total_max > 1.1y"], "STATISTIC OP NUMBER"),
        (["--fail-if", "total_max > nan"], "STATISTIC OP NUMBER"),
        (["--fail-if", "total_max"], "write it as in 'total_max > 1.1x' (--fail-if)"),
        (["--as", "latex", "--json"], "--as latex with --json"),
        (["--as", "html"], "(--as)"),
    ):
        code, printed, said = run(capsys, "compare", before, tmp_path / "damaged.sqlite", *more)
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert message in said


@pytest.mark.parametrize(
    ("text", "one", "other", "expected"),
    [
        ("total_max > 1.1x", 1.0, 1.2, True),
        ("total_max > 1.1x", 1.0, 1.0, False),
        ("total_max>1.1x", 0.0, 1e-300, True),
        ("total_max > 1.1x", 0.0, 0.0, False),
        ("total_max > 1.1x", math.inf, math.inf, False),
        ("total_max < 2", 1.0, math.nan, True),
        ("total_max > 5", 1.0, math.nan, True),
        ("total_max > 2x", math.nan, 1.0, True),
        ("total_max > 5", None, 6.0, True),
        ("total_max > 5x", None, 6.0, None),
        ("total_max > 5", 1.0, None, True),
        ("total_max > 5", None, None, None),
        ("features == 4", 3, 4, True),
        ("features != 1x", 10**400, 10**400, False),
        ("skill<-1e-3", 0.5, -1.0, True),
    ],
)
def test_conditions(text: str, one: float | None, other: float | None, expected: bool | None) -> None:
    assert condition(text).holds(one, other) is expected


def test_statistics_are_the_columns_of_cells_csv(before: Path) -> None:
    loaded = load_runs([before])
    assert set(statistic_names()) <= set(loaded.places.completed(loaded.frame).columns)
    assert len(set(statistic_names())) == len(statistic_names()) > 90
    with pytest.raises(InvalidRequestError, match="unknown statistic 'input'"):
        condition("input == 1")


def test_other_styles(before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = copied(before, tmp_path / "changed.sqlite", times("formula", 2.0))
    for style, start in (
        ("markdown", "| member"),
        ("latex", "{\\footnotesize"),
        ("csv", "input,mechanism,member,axis"),
    ):
        code, printed, _ = run(capsys, "compare", before, changed, "--as", style)
        assert code == 1
        assert printed.startswith(start)
        assert "taylor:order=2" in printed.replace("\\hspace{0pt}", "")
    assert max(map(len, run(capsys, "compare", before, changed, "--columns", 30)[1].splitlines())) <= 30
