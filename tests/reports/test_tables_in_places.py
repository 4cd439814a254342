"""Tables where they are placed: no line over a terminal's width, none wider than an article's text, words left."""

from __future__ import annotations

import csv
import io
import random
import re
import shutil
import subprocess
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from reports.costs import cost_record, cost_table, multihead_table
from reports.terminal import wrapped
from reports.text import Table, bytes_text, csv_cell, csv_text
from verify.families.costs import FeatureCost, counts_of, multihead_cost
from verify.mechanisms.registry import named_member

REASON = "131,072 tokens at order 7 need 1,024 MiB; expected at most 512; take fewer"
UNMEASURED = Table(
    ["input", "mechanism", "arithmetic", "status", "reason"],
    [
        ["/data/" + "layer_05/" * 20 + "q.npz", "taylor", "float8_e4m3fn+float32", "refused", REASON],
        ["x & y_z", "power", "float16", "failed", "3 of 4"],
    ],
    keys=2,
)


def costs(*orders: int) -> list[FeatureCost]:
    found = [counts_of(named_member(f"taylor:order={order}"), d, None) for d in (8, 64, 1024) for order in orders]
    return [cost for cost in found if cost is not None]


TABLES = {
    "costs": cost_table(costs(0, 3, 7)),
    "long numbers": cost_table(costs(60)),
    "layers": multihead_table([multihead_cost(4096, cost) for cost in costs(3)]),
    "not measured": UNMEASURED,
    "text": Table(["name", "what it is"], [["a_name", "word " * 60], ["b", "w" * 300]]),
    "nothing": Table(["a heading", "another one"], []),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(table: Table, width: int) -> None:
    shown = table.plain(width)
    assert max(map(len, shown.splitlines())) <= width
    squeezed = "".join(shown.split())
    for row in table.rows:  # nothing is cut: every word stands there, perhaps on several lines
        assert [cell for cell in row if "".join(cell.split())[:20] not in squeezed] == []
    whole = table.plain()
    assert shown == whole or max(map(len, whole.splitlines())) > width


def test_a_table_that_fits_in_no_part_is_a_block_for_each_row() -> None:
    assert Table(["member", "features"], [["m" * 12, "5"], ["k" * 12, "6"]], keys=1).plain(20).splitlines() == [
        "member    mmmmmmmmmm",
        "          mm",
        "features  5",
        "",
        "member    kkkkkkkkkk",
        "          kk",
        "features  6",
    ]


def test_words_align_left_and_numbers_right() -> None:
    right = [
        ["1,024"],
        ["2e-3", "inf"],
        ["107 of 128", "0 of 4"],
        ["1.2e-07 / 3e+00", "inf / nan"],
        ["12.5 MB", "999 B"],
    ]
    right += [["3.5 %"], ["-3"], ["<0.1"], ["5", "refused"], ["0.0 to 1.5"], ["7", ""], ["4.5 s / 3 s"], ["none", "2"]]
    left = [
        ["refused", "failed"],
        [REASON, "3 of 4"],
        ["3fa2c1"],
        ["none up to 20", "3"],
        ["-x"],
        ["8 heads"],
        ["", ""],
    ]
    left += [["2 words", "1"], ["-- "], ["+"]]
    for cells in right:
        assert Table(["x"], [[cell] for cell in cells]).numeric(0), cells
    for cells in left:
        assert not Table(["x"], [[cell] for cell in cells]).numeric(0), cells


# Widths of Computer Modern Roman at 10 pt, from its metric file cmr10.tfm.
LOWER = [5.0, 5.56, 4.44, 5.56, 4.44, 3.06, 5.0, 5.56, 2.78, 3.06, 5.28, 2.78, 8.33, 5.56, 5.0, 5.56, 5.28, 3.92, 3.94]
LOWER += [3.89, 5.56, 5.28, 7.22, 5.28, 5.28, 4.44]
UPPER = [7.5, 7.08, 7.22, 7.64, 6.81, 6.53, 7.85, 7.5, 3.61, 5.14, 7.78, 6.25, 9.17, 7.5, 7.78, 6.81, 7.78, 7.36, 5.56]
UPPER += [7.22, 7.5, 7.5, 10.28, 7.5, 7.5, 6.11]
WIDTHS = dict(zip(map(chr, range(97, 123)), LOWER, strict=True)) | dict(
    zip(map(chr, range(65, 91)), UPPER, strict=True)
)
WIDTHS |= dict.fromkeys("0123456789/", 5.0) | dict.fromkeys(" -()", 3.89) | dict.fromkeys(".,:;|", 2.78)
FOOTNOTES = 0.85  # a digit of cmr8 is 4.25 pt wide


def widths_of(latex: str) -> list[float]:
    """Return the width of every tabular, from its cells."""
    found = []
    for kinds, body in re.findall(r"\\begin\{tabular\}\{@\{\}(.*?)@\{\}\}\n(.*?)\\end\{tabular\}", latex, re.DOTALL):
        rows = [row.split(" & ") for row in re.findall(r"^(.*) \\\\$", body, re.MULTILINE)]
        columns = re.findall(r"[lr]|p\{[\d.]+pt\}", kinds)
        total = 12.0 * (len(columns) - 1)
        for kind, cells in zip(columns, zip(*rows, strict=True), strict=True):
            total += float(kind[2:-3]) if kind[0] == "p" else max(map(width_of, cells))
        found.append(total)
    return found


def width_of(cell: str) -> float:
    lines = re.sub(r"\\shortstack\{(.*)\}", r"\1", cell).split(r"\\")
    plain = [re.sub(r"\\([&%$#_{}])|\{(-)\}", r"\1\2", line) for line in lines]
    return max(FOOTNOTES * sum(WIDTHS.get(c, 8.0) for c in line) for line in plain)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_a_table_in_latex_is_no_wider_than_an_article(table: Table) -> None:
    widths = widths_of(table.latex())
    assert widths
    assert max(widths) <= 345.0


def test_a_table_that_is_too_wide_is_noticed() -> None:
    wide = r"\begin{tabular}{@{}rl@{}}" + "\n" + "5" * 40 + " & " + "m" * 40 + " \\\\\n\\end{tabular}"
    assert max(widths_of(wide)) > 345.0


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_within_the_text_of_an_article(tmp_path: Path) -> None:
    hostile = Table(["a_b", r"\input{x} $"], [['"q" ~^ <|> {}', "# % & -- \\"]])
    tables = "\n\n".join(table.latex() for table in (*TABLES.values(), hostile))
    text = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{tables}\n\\end{{document}}\n"
    (tmp_path / "tables.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout


FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "\uff1d1", "-x", "+", "-1 2"]
NUMBERS = ["-1", "+1", "-1e-300", "-inf", "1e5", "0"]


def test_no_cell_of_csv_is_taken_for_a_formula_and_numbers_stay() -> None:
    record = {"text": FORMULAS[0], "inner": {"x": FORMULAS[2]}, "list": ["-1", "2+3"], "number": -2.5e-300, "count": -7}
    (row,) = csv.DictReader(io.StringIO(csv_text([record])))
    assert all(cell[0] not in "=+-@\t\r" for name, cell in row.items() if name not in ("number", "count"))
    assert (float(row["number"]), int(row["count"])) == (-2.5e-300, -7)
    assert all(csv_cell(text)[0] not in "=+-@\t\r\uff1d" for text in FORMULAS)
    assert [csv_cell(text) for text in NUMBERS] == NUMBERS


def test_costs_read_again_are_the_same_numbers() -> None:
    records = [cost_record(cost) for cost in costs(0, 3, 60)]
    rows = list(csv.DictReader(io.StringIO(csv_text(records))))
    for record, row in zip(records, rows, strict=True):
        whole = {name: value for name, value in record.items() if isinstance(value, int)}
        assert {name: int(row[name]) for name in whole} == whole
        assert float(row["reduction"]) == record["reduction"]
        assert int(row["state_bytes_float16"]) == record["state_bytes"]["float16"]


def test_bytes_have_the_unit_that_suits_them() -> None:
    shown = {
        0: "0 B",
        999: "999 B",
        1000: "1 kB",
        12_455_300: "12.5 MB",
        999_999: "1 MB",
        10**28: "10 RB",
        5_940: "5.94 kB",
    }
    assert {count: bytes_text(count) for count in shown} == shown
    units = dict(zip(["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB", "RB", "QB"], range(11), strict=True))
    draw = random.Random(3)
    for count in (draw.randrange(10 ** draw.randrange(1, 60)) for _ in range(300)):
        number, unit = bytes_text(count).split()
        found = Fraction(Decimal(number)) * 1000 ** units[unit]
        assert abs(found - count) <= Fraction(count, 200)  # three digits


def test_long_words_break_only_where_they_must() -> None:
    path = "/" + "p" * 50
    assert wrapped(f"page: {path}", 60) == f"page: {path}"
    assert wrapped(f"page: {path}", 52) == f"page:\n{path}"
    assert wrapped(f"page: {path}", 20).replace("\n", "") == f"page: {path}"
    assert wrapped("one-two three", 8, later="  ") == "one-two\n  three"
