"""What somebody writes for a polynomial, a table, a base and a range: read exactly, or refused in one line."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.errors import InvalidRequestError
from verify.ingredients import judge, read_base, read_target
from verify.ingredients.judgement import read_ingredient
from verify.ingredients.polynomial import MOST_DEGREE, Polynomial, read_polynomial
from verify.ingredients.table import MOST_PIECES, Table, read_table


@pytest.mark.parametrize(
    ("text", "coefficients"),
    [
        ("1+0.6951*x+0.2276*x^2+0.0771*x^3", "1 0.6951 0.2276 0.0771"),
        ("1,0.6951,0.2276,0.0771", "1 0.6951 0.2276 0.0771"),
        (" - x ** 2 + 1/3 x - 2.5e-3 ", "-0.0025 1/3 -1"),
        ("x^2/2 + x + 1", "1 1 1/2"),
        ("x+x-x^3+x^3", "0 2"),
        ("x", "0 1"),
        ("-.5", "-1/2"),
        ("1e3, 1/7 ,0,0", "1000 1/7"),
        ("0", "0"),
        ("1/2x/2", "0 1/4"),
    ],
)
def test_polynomials(text: str, coefficients: str) -> None:
    assert read_polynomial(text) == Polynomial(tuple(map(Fraction, coefficients.split())))


@given(st.lists(st.decimals(-1000, 1000, places=6), min_size=1, max_size=9))
@settings(max_examples=30)
def test_both_ways_to_write_one_agree(decimals: list[Any]) -> None:
    terms = "".join(f"{c:+f}*x^{power}" for power, c in enumerate(decimals))
    assert read_polynomial(terms) == read_polynomial(",".join(f"{c:f}" for c in decimals))
    assert sum(read_polynomial(terms).coefficients) == sum(map(Fraction, decimals))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "x x",
            "2 3",
            "1+",
            "1++x",
            "1,,2",
            "1,x",
            "y",
            "X",
            "1+y",
            "x^-1",
            "x^0.5",
            "x^",
            "(1+x)^2",
            "2**x",
        ),
        *(
            "x*2",
            "nan",
            "inf",
            "1e",
            "1e9999",
            "0x10",
            "1_0",
            "\u0661",
            "1+x\u00b2",
            "exp(x)",
            "1;import os",
            "1" * 401,
        ),
        *("1/0", "x/0", "1/0,2", "1,1/0"),
        *(f"x^{MOST_DEGREE + 1}", "x^999999999", "x^1000000000000", "1," * 101 + "1", "x+" * 6000 + "x"),
    ],
)
def test_what_is_no_polynomial_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_polynomial(text)
    assert len(str(refused.value)) < 400


def test_the_highest_degree_is_judged() -> None:
    found = judge(f"1+x^{MOST_DEGREE}", read_target("0:0.5", read_base("e")))
    assert found.error.largest.at == Fraction(1, 2)
    assert found.description == "the polynomial of degree 100"


def test_published_ones_have_names_that_are_suggested() -> None:
    assert read_ingredient("fa4:1").description == "the polynomial of FlashAttention-4 of degree 1"
    with pytest.raises(InvalidRequestError, match=r"fa4:1, fa4:2, .*did you mean fa4:\d"):
        read_ingredient("fa4:9")


@pytest.mark.parametrize(
    ("range_", "base", "shown"),
    [
        ("0:1", "2", "2^x on [0, 1]"),
        ("[0:1)", " 2 ", "2^x on [0, 1)"),
        ("( -1e1 : 1/4 ]", "e", "e^x on (-10, 0.25]"),
        ("-.5:.5", "0.5", "0.5^x on [-0.5, 0.5]"),
    ],
)
def test_ranges_and_bases(range_: str, base: str, shown: str) -> None:
    target = read_target(range_, read_base(base))
    assert f"{target.power} on {target.range}" == shown
    assert [target.has(end) for end in (target.low, target.high)] == [not target.open_low, not target.open_high]
    assert target.has((target.low + target.high) / 2)
    assert not target.has(target.low - 1)


@pytest.mark.parametrize(
    ("range_", "says"),
    [
        ("1:0", "write 0:1"),
        ("1:1", "hardly one"),
        ("0:1e-9", "hardly one"),
        ("1e8:100000001", "hardly one"),
        *((text, "two finite numbers") for text in ("0:inf", "nan:1", "0", "0:1:2", ":", "a:b")),
        ("-2000:0", "2^-1100 to 2^1100"),
        ("0:1e300", "2^-1100 to 2^1100"),
    ],
)
def test_ranges_that_are_none(range_: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^range ") as refused:
        read_target(range_, read_base("2"))
    assert says in str(refused.value)


@pytest.mark.parametrize("base", ["0", "-2", "1", "1.0000001", "nan", "inf", "", "two", "1e301", "2,3", "1/0"])
def test_bases_that_are_none(base: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^base "):
        read_base(base)


LINES = {"breakpoints": [0, 0.1, 1], "coefficients": [[1, 0.5], [0.25, 1.0]]}


def written(folder: Path, document: Any) -> str:
    path = folder / "table.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def test_tables_of_json_are_exact_decimals(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, LINES | {"local": True}))
    tenth = Fraction(1, 10)
    assert table == Table(
        (Fraction(0), tenth, Fraction(1)), ((Fraction(1), tenth * 5), (tenth * 5 / 2, Fraction(1))), True
    )
    assert table.description == "a table of lines in 2 pieces"
    assert read_table(written(tmp_path, {"breakpoints": [0.0, 1], "coefficients": [[0.0]]})).coefficients == (
        (Fraction(0),),
    )


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, ml_dtypes.bfloat16])
def test_tables_of_npz_are_exact_binary_numbers(kind: Any, tmp_path: Path) -> None:
    path, coefficients = tmp_path / "table.npz", np.array([[1, 2], [3, 4]]).astype(kind)
    if kind is ml_dtypes.bfloat16:
        coefficients = coefficients.astype(np.float32)  # .npz does not keep it
    np.savez(path, breakpoints=np.array([0.0, 0.1, 1.0]), coefficients=coefficients, local=np.True_)
    table = read_table(str(path))
    assert table.breakpoints == (Fraction(0), Fraction(0.1), Fraction(1))
    assert table.coefficients == ((Fraction(1), Fraction(2)), (Fraction(3), Fraction(4)))
    assert table.local


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("[1]", "no JSON object"),
        ("{", "cannot be read"),
        ({"breakpoints": [0, 1]}, "without coefficients"),
        (LINES | {"slopes": []}, "with 'slopes'"),
        (LINES | {"coefficients": [1, 2]}, "no lists of numbers"),
        (LINES | {"coefficients": [[1], []]}, "no lists of numbers"),
        (LINES | {"coefficients": [[1]]}, "3 breakpoints and 1 piece"),
        ({"breakpoints": [0], "coefficients": []}, "1 breakpoint and 0 pieces"),
        (LINES | {"breakpoints": [0, 1, 1]}, "breakpoint 1 after 1"),
        (LINES | {"breakpoints": [0, "a", 1]}, "'a' among the breakpoints"),
        (LINES | {"coefficients": [[1], [True]]}, "'True' among the coefficients"),
        (LINES | {"coefficients": [[1], [None]]}, "'None' among the coefficients"),
        (LINES | {"coefficients": [[1], [[1]]]}, "among the coefficients"),
        (LINES | {"local": "no"}, "local"),
        ('{"breakpoints": [0, 1], "coefficients": [[1e99999]]}', "'1e99999' among the coefficients"),
        ('{"breakpoints": [0, 1], "coefficients": [[NaN]]}', "'nan' among the coefficients"),
        (LINES | {"coefficients": [[1], [1] * 102]}, "degree 101"),
        (
            {"breakpoints": [*range(MOST_PIECES + 2)], "coefficients": [[1]] * (MOST_PIECES + 1)},
            f"{MOST_PIECES + 1:,} pieces",
        ),
    ],
)
def test_what_is_no_table_is_refused(document: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_table(written(tmp_path, document))
    assert says in str(refused.value)


def test_npz_files_that_hold_no_table(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    for wrong in (
        {"breakpoints": np.array([0.0, np.nan]), "coefficients": np.ones((1, 1))},
        {"breakpoints": np.array([0.0, 1.0]), "coefficients": np.ones(1)},
        {"breakpoints": np.array([0.0, 1.0]), "coefficients": np.ones((1, 1), dtype=complex)},
        {"breakpoints": np.array([0.0, 1.0]), "coefficients": np.array([["1"]])},
        {"breakpoints": np.array([0.0, 1.0])},
    ):
        np.savez(path, allow_pickle=False, **wrong)
        with pytest.raises(InvalidRequestError):
            read_table(str(path))
    with pytest.raises(InvalidRequestError, match="no file"):
        read_table(str(tmp_path / "none.npz"))


def test_a_table_has_to_cover_the_range(tmp_path: Path) -> None:
    path = written(tmp_path, LINES)
    with pytest.raises(InvalidRequestError, match=r"a table from 0 to 1 for the range \[0, 2\]"):
        judge(path, read_target("0:2", read_base("2")))
    pieces = read_table(path).pieces(read_target("0.05:0.5", read_base("2")))
    assert [(piece.low, piece.high) for piece in pieces] == [
        (Fraction(1, 20), Fraction(1, 10)),
        (Fraction(1, 10), Fraction(1, 2)),
    ]
    assert len(read_table(path).pieces(read_target("0.1:0.5", read_base("2")))) == 1
