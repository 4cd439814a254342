"""What is printed of a polynomial, a table or a function in place of exp."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.exponential import judged_exponential
from tests.cli.running import run
from verify.errors import InvalidRequestError
from verify.ingredients.effect import INPUTS

CUBIC = "1+0.6951*x+0.2276*x^2+0.0771*x^3"


def printed(
    capsys: pytest.CaptureFixture[str], text: str, range_: str = "[0:1)", base: str = "2", width: int = 80
) -> list[str]:
    assert judged_exponential(text, range_, base, width, json_=False) == 0
    return capsys.readouterr().out.splitlines()


def documented(
    capsys: pytest.CaptureFixture[str], text: str, range_: str = "[0:1)", format_: str = "float32"
) -> dict[str, object]:
    assert judged_exponential(text, range_, "2", 80, json_=True, format_=format_) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_polynomial(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, CUBIC)
    assert lines[0] == f"{CUBIC}: the polynomial of degree 3 for 2^x on [0, 1)"
    # 2 - 1.9998 at the end that is left out
    assert lines[1] == "largest relative error: 1.000000e-04 towards x = 1, proven, in exact arithmetic"
    assert lines[2] == "errors from -1.00e-04 towards x = 1 to 8.37e-05 at x = 0.0981"
    assert lines[3] == "correct bits: 13.2"  # -log2 of it is 13.29
    assert " ".join(lines[4:6]) == (
        "as good as rounding in float16, bfloat16, float8_e4m3fn, float8_e5m2; not in   float64, float32"
    )
    for source in INPUTS:
        (row,) = (line for line in lines if line.startswith(source.name))
        assert row.count("%") == 3
    assert max(map(len, lines)) <= 80


def test_a_published_one_by_name_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = documented(capsys, "fa4:5")
    assert (found["evidence"], found["format"], found["numbers"]) == ("proven", None, None)
    assert (found["base"], found["range"], found["positive"]) == ("2", "[0, 1)", True)
    largest = found["largest"]
    assert isinstance(largest, dict)
    assert 8.5346e-8 < largest["lower"] < largest["upper"] < 8.5347e-8
    assert "float16" in str(found["suffices"])
    assert "float32" in str(found["falls_short"])  # 2^-24 is 5.96e-8
    effects = found["effects"]
    assert isinstance(effects, list)
    assert [effect["input"] for effect in effects] == [source.name for source in INPUTS]
    assert all(effect["rounding"] < effect["relative"] < effect["bound"] for effect in effects)


def test_what_is_measured_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n\n\ndef mine(x):\n    print('x')\n    return np.exp2(x) * x.dtype.type(1.001)\n"
    )
    shown = " ".join(" ".join(printed(capsys, f"{path}:mine", width=10_000)).split())
    assert "measured on 65," in shown
    assert "of the 1,065,353,216 numbers of float32 in the range" in shown  # bit patterns below that of 1
    assert "the bounds hold if no number has a larger error than those that were tried" in shown
    assert "proven" not in shown
    found = documented(capsys, f"{path}:mine", format_="bfloat16")
    assert found["evidence"] == "measured"
    assert found["numbers"] == {"measured": 16256, "of": 16256}


def test_zero_weights_are_told_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(printed(capsys, "1-x", "0:3", width=10_000))
    assert "zero or negative at x = 2.443: a relative error of 1 or more; outputs have no bound" in text
    assert "not as good as rounding in any format" in text
    touching = "x^2-0.6666666666666666*x+0.1111111111111111"  # as good as (x - 1/3)^2
    assert "as good as zero at x = 0.3333: outputs have no bound" in printed(capsys, touching)
    found = documented(capsys, "1-x", "0:3")
    assert (found["positive"], found["shared"], found["correct_bits"], found["suffices"]) == (False, "inf", 0.0, [])


def test_numbers_that_are_none_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import numpy as np\n\n\ndef mine(x):\n    return np.where(x == 0.5, np.nan, np.exp2(x))\n")
    assert judged_exponential(f"{path}:mine", "0:1", "2", 200, json_=False, format_="float16") == 0
    out = capsys.readouterr().out
    assert "largest relative error: inf at x = 0.5" in out
    assert "NaN or infinite on 1 number: an infinite error" in out


@pytest.mark.parametrize("width", [20, 40, 79])
def test_no_line_is_wider_than_asked_for(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "1+0.7*x", width=width)
    longest = max(len(source.name) for source in INPUTS)  # a name is not broken
    assert max(map(len, lines)) <= max(width, longest)


def test_long_texts_and_control_characters_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a\x1b[31m.npz"
    np.savez(path, breakpoints=np.array([0.0, 0.5, 1.0]), coefficients=np.array([[1.2], [1.7]]))
    lines = printed(capsys, str(path), width=400)
    assert "\\x1b[31m.npz: a table of constants in 2 pieces for 2^x" in lines[0]
    assert all(line.isprintable() for line in lines)
    assert len(printed(capsys, "1+" + "0*x+" * 500 + "0.7*x", width=10_000)[0]) < 300


@pytest.mark.parametrize(
    ("text", "range_", "base", "option"),
    [
        ("1+y", "0:1", "2", "--exp"),
        ("fa4:7", "0:1", "2", "--exp"),
        ("none.json", "0:1", "2", "--exp"),
        ("none.py:f", "0:1", "2", "--exp"),
        (CUBIC, "1:0", "2", "--range"),
        (CUBIC, "0:1", "0", "--base"),
    ],
)
def test_refusals_name_the_option_and_print_nothing(
    text: str, range_: str, base: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        judged_exponential(text, range_, base, 80, json_=False)
    assert str(refused.value).endswith(f"({option})")
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_a_format_that_there_is_not() -> None:
    with pytest.raises(InvalidRequestError, match="unknown format 'float12'"):
        judged_exponential("numpy:exp2", "0:1", "2", 80, json_=False, format_="float12")


def test_a_function_that_does_not_answer_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import time\n\n\ndef sleeps(x):\n    time.sleep(3600)\n")
    for arguments, says in (
        (("--timeout", "0.5"), "it took more than 0.5 s"),
        (("--timeout", "never"), "--timeout"),
        (("--python", "/no/python"), "cannot be started"),
        (("--framework", "mxnet"), "framework 'mxnet'"),
    ):
        code, shown, said = run(capsys, "check", "--exp", f"{path}:sleeps", *arguments)
        assert (code, shown, said.count("\n")) == (2, "", 1)
        assert says in said
