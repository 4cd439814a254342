"""The answer: which heads come within a tolerance and at what, by numbers worked out another way."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.answer import TOLERANCES, Answer, Column, Point, Subject
from reports.answers import answers
from reports.equal_state import equal_state
from reports.frame import load_runs
from reports.heat import answer_records, answer_table, answer_text, heat_table
from reports.sentence import answered
from reports.text import BANDS, band, context_text, percent_text
from reports.write import write_report
from tests.cli.running import run
from tests.reports.pages import Page
from tests.reports.running import rows, swept
from verify.inputs import SyntheticInput

ORDERS = range(6)
HEADS, TOKENS, SIZE = 4, 24, 4
WIDE = 2  # the head whose logits are large


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads in a file, one of them with logits that no order here reaches."""
    folder = tmp_path_factory.mktemp("heads")
    q, k, v = np.random.default_rng(14).standard_normal((3, HEADS, TOKENS, SIZE))
    q *= np.array([0.2, 0.5, 6.0, 0.35])[:, None, None]
    np.savez(folder / "heads.npz", q=q, k=k, v=v)
    return folder


@pytest.fixture(scope="module")
def errors(folder: Path) -> np.ndarray:
    """Relative errors of the cut exponential by head and order, and of all heads in the last row, in plain numpy."""
    with np.load(folder / "heads.npz") as file:
        q, k, v = (file[name].astype(np.longdouble) for name in "qkv")
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(np.longdouble(SIZE))

    def output(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ v / weights.sum(axis=-1, keepdims=True))

    exact = output(np.exp(logits))
    found = [output(sum(logits**p / math.factorial(p) for p in range(order + 1))) - exact for order in ORDERS]
    by_head = [[np.linalg.norm(e[h]) / np.linalg.norm(exact[h]) for e in found] for h in range(HEADS)]
    return np.array([*by_head, [np.linalg.norm(e) / np.linalg.norm(exact) for e in found]], dtype=float)


def first_within(along: np.ndarray, tolerance: float) -> int | None:
    return next((order for order, error in enumerate(along) if error <= tolerance), None)


def sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    chosen = ["--orders", "0:5", "--arithmetic", "float64", "--mechanisms", "softmax/softmax,taylor/scores"]
    out = ["--jobs", "0", "--out", str(folder / "run.sqlite"), "--columns", "200"]
    code, printed, _ = run(capsys, "sweep", "--input", str(folder / "heads.npz"), *chosen, *out)
    assert code == 0
    return printed


def test_three_of_four_heads_are_said_to_come_within_it(
    folder: Path, errors: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    firsts = [first_within(along, 1e-2) for along in errors]
    hit = sorted(order for order in firsts[:HEADS] if order is not None)
    assert (firsts[WIDE], firsts[HEADS], len(hit)) == (None, None, 3)
    sentence = (
        "The input does not reach 1 % with taylor up to order 5, in float64; 3 of 4 heads do, at order"
        f" {hit[0]} to {hit[-1]}."
    )
    printed = sweep(folder, capsys)
    assert sentence in printed.splitlines()
    for head, first in enumerate(firsts[:HEADS]):
        (line,) = (line for line in printed.splitlines() if line.startswith(f"head {head} "))
        assert ("none" if first is None else f"order {first}") in line
    report = folder / "report"
    code, printed, _ = run(capsys, "report", str(folder / "run.sqlite"), "--out", str(report), "--columns", "200")
    assert (code, sentence in printed.splitlines()) == (0, True)
    page = (report / "report.html").read_text()
    assert f"<title>{sentence}</title>" in page
    assert sentence in Page(page).text
    code, printed, _ = run(capsys, "recommend", str(folder / "run.sqlite"), "--tolerance", "1e-2", "--columns", "200")
    assert (code, sentence in printed.splitlines()) == (1, True)
    file = str(folder / "heads.npz")
    code, printed, _ = run(capsys, "recommend", file, "--tolerance", "1e-2", "--max-order", "5", "--columns", "200")
    assert (code, sentence.replace("in float64", "with exact values") in printed.splitlines()) == (1, True)


def test_numbers_of_heads_are_those_of_plain_numpy(
    folder: Path, errors: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both err by some 2^-53 times the cancellation in Z, and no error here is below 1e-6 of the output."""
    sweep(folder, capsys)
    runs = load_runs([folder / "run.sqlite"])
    (answer,) = answers(runs)
    (subject,) = answer.subjects
    for along, each in zip(errors, [*subject.heads, subject], strict=True):
        assert [each.points[order].error for order in ORDERS] == pytest.approx(along.tolist(), rel=1e-6)
    heat = heat_table(answer)
    (row,) = heat.rows
    for along, shown in zip(errors, [*row.heads, row], strict=True):
        assert [cell.band for cell in shown.cells] == [int((error > np.array(BANDS)).sum()) for error in along]
        for tolerance, verdict in zip(TOLERANCES, shown.verdicts, strict=True):
            first = first_within(along, tolerance)
            expected = (first is not None, "none" if first is None else f"order {first}")
            assert (verdict.reached, verdict.text) == expected
    write_report([folder / "run.sqlite"], folder / "csv")
    heads = pd.read_csv(folder / "csv" / "heads.csv")
    own = heads[(heads["mechanism"] == "taylor")].sort_values(["head", "member"])
    assert own["total"].to_numpy().reshape(HEADS, -1) == pytest.approx(errors[:HEADS], rel=1e-6)
    with (folder / "csv" / "answer.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["head"] for row in found] == ["", "0", "1", "2", "3"]
    for record, along in zip(found, [errors[-1], *errors[:-1]], strict=True):
        assert float(record["best_error"]) == pytest.approx(along.min(), rel=1e-6)
        first = first_within(along, 1e-2)
        assert record["within_0.01"] == ("" if first is None else str(first))


def subject(name: str, *found: float | None, heads: tuple[Subject, ...] = ()) -> Subject:
    points = {place: Point(error, status="ok" if error is not None else "refused") for place, error in enumerate(found)}
    return Subject(name, 8, 8, 1.0, points, 1e-7, heads)


def answer_of(*subjects: Subject) -> Answer:
    columns = [Column("any", "any", "order", order, f"any:order={order}") for order in range(3)]
    return Answer("float32", columns, subjects)


def test_nothing_that_is_not_a_number_is_enough() -> None:
    nan, inf = float("nan"), float("inf")
    answer = answer_of(subject("a", nan, inf, None), subject("b", 0.5, nan, 0.01))
    assert answered(answer, 1e-2) == "1 of 2 inputs reaches 1 % with any, at order 2, in float32."
    assert answered(answer, 9.0) == "1 of 2 inputs reaches 900 % with any, at order 0, in float32."
    assert answer.best(answer.subjects[0]) is None
    assert [row["best"] for row in rows(answer_table(answer))] == ["", "1 % at order 2"]
    assert [cell.text for cell in heat_table(answer).rows[0].cells] == ["inf", "inf", "refused"]
    assert not answer.reaches(1e-2)
    assert not answer_of().reaches(1.0)
    assert not answer_of(subject("all NaN", nan, nan, nan)).reaches(1e300)


def test_a_tolerance_is_met_exactly_or_not_at_all() -> None:
    above = math.nextafter(0.01, 1.0)
    answer = answer_of(subject("a", above, 1.0, 1.0))
    assert not answer.reaches(0.01)
    assert band(0.01) != band(above)
    assert percent_text(above) not in ("1 %", "1.0 %")  # no number looks as if it were within
    assert answer_of(subject("a", 0.01, 1.0, 1.0)).reaches(0.01)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"),
        (5.8e-7, "5.8e-5 %"),
        (0.00999, "1 %"),
        (0.0104, "1.04 %"),
        (0.83, "83 %"),
        (0.9999, "100 %"),
        (1.00001, "100.001 %"),
        (133.16, "13,316 %"),
        (3e30, "3.0e32 %"),
        (float("nan"), "inf"),
        (None, ""),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent_text(value) == text


def test_no_percentage_is_shown_in_another_band() -> None:
    rng = np.random.default_rng(3)
    values = [*(10.0 ** rng.uniform(-9, 4, 2000)), *(limit * (1 + s) for limit in BANDS for s in (-1e-9, 0.0, 1e-9))]
    for value in values:
        shown = float(percent_text(value).removesuffix(" %").replace(",", "")) / 100
        assert band(shown) == band(value)
        assert shown == pytest.approx(value, rel=0.06)


def test_contexts() -> None:
    assert [context_text(n) for n in (None, 1, 515, 24327, 1_415_232, 10**9, 7 * 10**11, 3 * 10**13)] == [
        *("", "1", "515", "24.3 k", "1.42 M", "1 G", "700 G", "3.0e+13"),
    ]


def test_more_inputs_than_lines_are_counted_and_said(tmp_path: Path) -> None:
    many = answer_of(*(subject(f"input {place}", 1.0, 0.1, 0.001 * (place % 2)) for place in range(500)))
    text = answer_text(many, 80)
    assert "and 480 more inputs" in text
    assert text.endswith("500 of 500 inputs reach 1 % with any, at order 2, in float32.")
    assert max(map(len, text.splitlines())) <= 80
    heat = heat_table(many)
    assert (len(heat.rows), heat.left_out) == (100, 400)
    assert len(list(answer_records([many]))) == 500


def test_states_are_compared_at_equal_size(tmp_path: Path) -> None:
    path = swept(tmp_path / "run.sqlite", ["taylor/packed", "elu/stream", "logexp/stream"], arithmetics=("float64",))
    (answer,) = answers(load_runs([path]))
    found = equal_state(answer)
    assert found is not None
    # at d = d_v = 4 orders 0, 1, 3 hold 5, 25 and 175 numbers, log-exp and elu 20
    (row,) = rows(found.table)
    assert {name.partition(":")[0] for name in row if name != "input"} == {"100", "1 k"}
    (one,) = answer.subjects
    by_order = [one.points[place].error or math.inf for place in answer.of("taylor")]
    assert row["100: taylor"].endswith(f"order {int(np.argmin(by_order[:2]))}")
    assert row["1 k: taylor"].startswith(percent_text(min(by_order)))
    assert row["100: elu"] == row["1 k: elu"]
    assert found.text.startswith("Side by side: closest with at most 100 numbers per head, of 1 input: ")
    limited = answer.holding(25)
    assert [column.member for column in limited.columns] == ["taylor:order=0", "taylor:order=1", "elu", "logexp"]
    assert limited.subjects[0].points[1].error == by_order[1]
    assert answer.holding(1).series == []


def test_an_interrupted_run_says_so_in_its_title(small_run: Path, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "run.sqlite"
    path.write_bytes(small_run.read_bytes())
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM cell WHERE key IN (SELECT key FROM cell ORDER BY key LIMIT 5)")
    connection.close()
    runs = load_runs([path])
    assert (len(runs.frame), runs.missing) == (27, 5)
    page = write_report([path], tmp_path / "report").page.read_text()
    assert re.search("<title>Interrupted, 27 of 32 cells: Within 1 % of softmax in float32: ", page)
    assert load_runs([small_run]).missing == 0


def test_one_name_with_two_contents_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verify.inputs import FileInput

    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        q, k, v = np.random.default_rng(seed).standard_normal((3, 6, 2))
        np.savez("same.npz", q=q, k=k, v=v)
        swept(Path("run.sqlite"), ["taylor/scores"], inputs=(FileInput(("same.npz",)),), arithmetics=("float64",))
    runs = load_runs([Path("run.sqlite")])
    labels = {subject.name for subject in answers(runs)[0].subjects}
    assert labels == {f"same.npz (digest {digest[:8]})" for digest in runs.frame["digest"]}
    assert len(labels) == 2


def test_json_of_a_run_says_what_was_asked(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("recommend", str(small_run), "--tolerance", "0.3", "--arithmetic", "float64")
    code, printed, _ = run(capsys, *arguments, "--json")
    document = json.loads(printed)
    (answer,) = (answer for answer in answers(load_runs([small_run])) if answer.arithmetic == "float64")
    assert document["sentence"] == answered(answer, 0.3)
    assert code == (0 if answer.reaches(0.3) else 1)
    assert {record["arithmetic"] for record in document["answers"]} == {"float64"}
    assert all("within_0.3" in record for record in document["answers"])
    for style in ("markdown", "latex", "csv"):
        assert run(capsys, *arguments, "--as", style)[0] == code
    assert run(capsys, *arguments[:-1], "float16")[0] == 2
    assert dataclasses.replace(answer, subjects=()).reaches(0.3) is False


def test_what_was_not_measured_is_no_miss() -> None:
    refused = answer_of(subject("a", None, None, None))
    assert answered(refused, 1e-2) == "The input was not measured with any, in float32: refused."
    partly = answer_of(subject("a", 0.5, 0.2, None))
    assert (
        answered(partly, 1e-2)
        == "The input does not reach 1 % with any up to order 1, in float32; order 2 not measured."
    )
    two = answer_of(subject("a", 0.5, 0.2, 1e-3), subject("b", None, None, None))
    assert answered(two, 1e-2) == "1 of 2 inputs reaches 1 % with any, at order 2, in float32; 1 input not measured."
    assert not two.reaches(1e-2)


def test_orders_that_were_left_out_are_not_counted_in() -> None:
    gap = answer_of(subject("a", 0.5, None, 0.2))
    assert "does not reach 1 % with any at order 0, 2, in float32" in answered(gap, 1e-2)
    alone = answer_of(Subject("a", 8, 8, 1.0, {2: Point(0.2)}, 1e-7))
    assert answered(alone, 1e-2) == "The input does not reach 1 % with any at order 2, in float32."


def test_inputs_of_another_arithmetic_are_named_and_orders_are_those_of_this_one(tmp_path: Path) -> None:
    one = swept(tmp_path / "one.sqlite", ["taylor/scores", "elu/pairs"], orders=(0, 5), arithmetics=("float64",))
    inputs = (SyntheticInput("normal", 4, 12, seed=7),)
    other = swept(tmp_path / "other.sqlite", ["taylor/scores"], inputs=inputs, orders=(3,), arithmetics=("float32",))
    exact, coarse = answers(load_runs([one, other]))
    assert [column.member for column in coarse.columns] == ["taylor:order=3"]
    assert [len(answer.subjects) for answer in (exact, coarse)] == [1, 1]
    assert answered(coarse, 1e9).endswith("in float32; 1 other input not measured in float32.")
    assert not coarse.reaches(1e9)


@pytest.mark.parametrize(
    ("tolerance", "shown"),
    [(0.01, "1 %"), (0.875, "87.5 %"), (0.0123456, "1.23456 %"), (1e-9, "1e-7 %"), (3.0, "300 %")],
)
def test_a_tolerance_is_shown_as_it_was_given(tolerance: float, shown: str) -> None:
    assert answer_of(subject("a", 1.0)).within(tolerance) == shown


@pytest.mark.parametrize("tolerance", ["nan", "inf", "0", "-1", "1e400"])
def test_no_tolerance_at_all(tolerance: str, small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys, "recommend", str(small_run), f"--tolerance={tolerance}")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert "tolerance" in said


def test_it_pays_where_the_state_is_smaller_and_not_before(tmp_path: Path) -> None:
    path = swept(tmp_path / "run.sqlite", ["taylor/scores"], inputs=(SyntheticInput("normal", 8, 12),))
    (answer, _) = answers(load_runs([path]))
    for place, state in ((0, 9), (1, 81), (2, 1485)):
        context = answer.pays_from(answer.subjects[0], answer.columns[place])
        assert context is not None
        assert 16 * (context - 1) <= state < 16 * context
