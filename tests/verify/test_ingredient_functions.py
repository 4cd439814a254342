"""Functions in place of powers, measured number by number, and what errors of weights do to outputs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.ingredients import Judgement, Target, judge, read_base, read_target
from verify.ingredients.effect import effects, reduced, shared_error
from verify.ingredients.function import Function
from verify.ingredients.maximum import ErrorRange, Extreme
from verify.ingredients.measured import SAMPLE, measured_error, numbers_of
from verify.ingredients.polynomial import read_polynomial
from verify.isolated.in_process import InProcess
from verify.isolated.isolation import Target as Place
from verify.numbers.formats import FORMATS, Format

Array = NDArray[Any]


def target(range_: str = "0:1", base: str = "2") -> Target:
    return read_target(range_, read_base(base))


def all_of(format_: Format) -> list[float]:
    """Every finite number of a format of at most 16 bits, in order, zero once."""
    bits = np.arange(2**format_.width).astype(f"uint{format_.width}")
    values = bits.view(format_.dtype)
    with np.errstate(invalid="ignore"):  # a NaN that signals
        return sorted({float(value) + 0.0 for value in values[np.isfinite(values)]})


@pytest.mark.parametrize(
    ("name", "range_"),
    [
        *product(("float8_e4m3fn", "float8_e5m2"), ("0:1", "[0:1)", "(-3:1/3]", "-500:500", "(0.1:0.3)")),
        ("float16", "(-3:1/3]"),
        ("bfloat16", "[0:1)"),
    ],
)
def test_all_numbers_of_a_small_format(name: str, range_: str) -> None:
    asked = target(range_)
    expected = [x for x in all_of(FORMATS[name]) if asked.has(Fraction(x))]
    found, of = numbers_of(FORMATS[name], asked)
    assert of == len(expected)
    assert found.tolist() == expected
    assert not np.signbit(found[found == 0.0]).any()


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_a_sample_of_a_wide_format(name: str) -> None:
    asked = target("[-1:1)")
    found, of = numbers_of(FORMATS[name], asked)
    one = int(np.array(1.0, dtype=FORMATS[name].dtype).view(f"uint{FORMATS[name].width}"))
    assert of == 2 * one  # as many below 0 as bit patterns up to that of 1, those from 0 on without 1 itself
    assert SAMPLE * 0.9 < len(found) <= SAMPLE
    assert (np.diff(found) > 0).all()
    assert (found[0], found[-1]) == (
        -1.0,
        float(np.nextafter(FORMATS[name].dtype.type(1), FORMATS[name].dtype.type(0))),
    )
    assert (found == FORMATS[name].rounded(found)).all()
    assert np.diff(found).max() < 2.0**-13  # no gap in values
    assert np.abs(found[found != 0]).min() < 1e-30  # nor in sizes


def test_a_range_without_numbers() -> None:
    with pytest.raises(InvalidRequestError, match="no number of bfloat16"):
        numbers_of(FORMATS["bfloat16"], target("1.0001:1.0002"))
    with pytest.raises(InvalidRequestError, match="no number of float8_e4m3fn"):
        numbers_of(FORMATS["float8_e4m3fn"], target("500:600"))


def cubic(x: Array) -> Array:
    """1 + x (0.7 + x (0.2 + 0.1 x)), every step rounded to the type of x."""
    return np.asarray(1 + x * (x.dtype.type(0.7) + x * (x.dtype.type(0.2) + x * x.dtype.type(0.1))))


@pytest.mark.parametrize("name", ["float8_e5m2", "float8_e4m3fn"])
def test_errors_are_those_of_mpmath(name: str) -> None:
    asked, format_ = target("-2:2"), FORMATS[name]
    found = measured_error(Function("cubic", InProcess(cubic), format_), asked)
    x = [x for x in all_of(format_) if -2 <= x <= 2]
    y = cubic(np.array(x).astype(format_.dtype)).astype(np.float64).tolist()
    with mp.workdps(60):
        errors = [mpf(value) / mpf(2) ** mpf(at) - 1 for at, value in zip(x, y, strict=True)]
        for end, extreme in ((found.error.least, min(errors)), (found.error.most, max(errors))):
            assert end.lower <= extreme <= end.upper
            assert end.upper - end.lower <= 1e-15 * abs(extreme)
            assert errors[x.index(float(end.at))] == extreme
    assert (found.numbers, found.of, found.undefined) == (len(x), len(x), 0)


def test_what_is_not_a_number_is_an_infinite_error() -> None:
    def broken(x: Array) -> Array:
        return np.where(x > 0.5, np.nan, np.exp2(x))

    found = measured_error(Function("broken", InProcess(broken), FORMATS["float16"]), target())
    assert found.error.largest.upper == found.error.largest.lower == inf
    assert found.error.largest.at > Fraction(1, 2)
    assert found.undefined == 1024  # numbers from 0.5 to 1
    assert shared_error(found.error) == inf


MODULE = """
import os, sys, time
import numpy as np
print("imported")
def good(x):
    print("called")
    return np.exp2(x)
def short(x): return np.exp2(x)[1:]
def one(x): return 1.0
def many(x): return np.exp2(x)[:, None]
def nothing(x): return None
def words(x): return np.full(x.shape, "a")
def imaginary(x): return np.exp2(x) + 0j
def raises(x): raise ValueError("not\\nnow")
def leaves(x): raise SystemExit(3)
def needs_two(x, y): return x
def changes(x):
    x *= 0
    return x + 1
def whole(x): return x.astype(np.int64)
def aborts(x): os.abort()
def sleeps(x): time.sleep(3600)
def allocates(x): return np.exp2(np.ones((1 << 16, 1 << 16)))
def prints(x):
    sys.stdout.write("x" * (1 << 22))
    return np.exp2(x)
number = 3
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MODULE)
    return path


def test_a_function_of_a_file(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = judge(f"{module}:good", target("[0:1)"), "float16")
    assert capsys.readouterr().out == ""
    assert found.measured is not None
    assert (found.measured.numbers, found.measured.of) == (15360, 15360)
    assert found.suffices[:1] == ("float16",)
    assert {"float32", "float64"} <= {*found.falls_short}
    assert found.error.largest.upper < 2.0**-11
    assert all(effect.relative <= effect.bound < 1e-2 for effect in found.effects)


def test_a_function_of_a_module_gets_numbers_of_the_format() -> None:
    found = judge("numpy:exp", target("-3:0", "e"))
    assert found.measured is not None
    assert found.measured.format == "float32"
    assert 2.0**-25 < found.error.largest.upper < 2.0**-21
    assert judge("numpy:exp", target("-3:0", "e"), "bfloat16").suffices[0] == "bfloat16"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("short", "returns the shape (15360,) for (15361,)"),
        ("one", "returned float; expected an array of numpy"),
        ("many", "returns the shape (15361, 1)"),
        ("nothing", "returned NoneType"),
        ("words", "returned an array of type <U1"),
        ("imaginary", "returned an array of type complex"),
        ("whole", "returned an array of type int64"),
        ("raises", "with 15,361 numbers of float16: it raised ValueError: not now"),
        ("leaves", "raised SystemExit"),
        ("aborts", "SIGABRT"),
        ("sleeps", "took more than 1 s"),
        ("allocates", "ran out of memory within 0.25 GiB"),
        ("prints", "printed more than 64 kB"),
        ("needs_two", "raised TypeError"),
        ("number", "of type int"),
        ("missing", "without missing"),
    ],
)
def test_functions_that_are_none(name: str, says: str, module: Path) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        judge(f"{module}:{name}", target(), "float16", Place("", timeout=1.0, memory=2**28))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_and_modules_that_do_not_import(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("import no_such_module_of_anybody\n")
    (tmp_path / "ends.py").write_text("raise SystemExit\n")
    (tmp_path / "crashes.py").write_text("import os\nos._exit(3)\n")
    for text, says in (
        (f"{tmp_path}/wrong.py:f", "does not import"),
        (f"{tmp_path}/ends.py:f", "does not import (SystemExit"),
        (f"{tmp_path}/none.py:f", "does not import"),
        (f"{tmp_path}/crashes.py:f", "cannot be loaded: its process ended by itself (exit code 3)"),
        ("no_such_module_of_anybody:f", "does not import"),
        ("no such module:f", "FILE.py:NAME or package.module:NAME"),
        ("..:f", "FILE.py:NAME or package.module:NAME"),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            judge(text, target())
        assert says in str(refused.value)


def test_a_function_that_changes_its_argument_changes_only_that(module: Path) -> None:
    found = judge(f"{module}:changes", target(), "float64")
    assert found.error.least.at == 1
    assert found.error.least.upper == pytest.approx(-0.5)


def test_what_rounding_arguments_does_is_not_the_functions_doing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import numpy as np\n\n\ndef wide(x): return np.exp2(x.astype(np.float64))\n")
    found = judge(f"{tmp_path}/mine.py:wide", target("[0:1)"), "bfloat16")
    assert found.error.largest.upper < 2.0**-52
    assert all(effect.relative < 1e-15 for effect in found.effects)


def between(low: float, high: float) -> ErrorRange:
    return ErrorRange(Extreme(low, low, Fraction(0)), Extreme(high, high, Fraction(0)))


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.3), (0.0, 0.5), (-0.9, -0.2), (1.5, 4.0), (-1e-3, 3e-3)])
def test_no_choice_of_errors_exceeds_the_bound(low: float, high: float) -> None:
    """All choices of one end or the other for six weights: the extremes of a ratio of linear functions are there."""
    rng = np.random.default_rng(7)
    shared = shared_error(between(low, high))
    assert shared <= max(abs(low), abs(high)) * (1 + 1e-12)
    nearest = 0.0
    for _ in range(20):
        p = rng.dirichlet(np.full(6, 0.5))
        v = rng.standard_normal(6)
        spread = p @ np.abs(v - p @ v)
        for ends in product((low, high), repeat=6):
            weights = p * (1.0 + np.array(ends))
            moved = abs(weights @ (v - p @ v)) / weights.sum()
            bound = shared / (1.0 - shared) * spread
            nearest = max(nearest, moved / bound)
    assert nearest <= 1.0 + 1e-11  # float64 loses 1e-15 or so of weights, and 1e-3 of them is what differs
    assert nearest > (1.0 - shared) * 0.9  # an error halved, or divided by three, would be exceeded


def test_a_factor_that_all_weights_share_does_nothing() -> None:
    asked = target()
    for effect in effects(lambda x: 3.0 * np.exp2(x), asked, between(2.0, 2.0)):
        assert effect.bound < 1e-300
        assert effect.relative == pytest.approx(effect.rounding, rel=1.0)
        assert effect.rounding < 1e-14


@pytest.mark.parametrize("text", ["fa4:1", "fa4:3", "fa4:5"])
def test_outputs_are_off_by_less_than_the_bound(text: str) -> None:
    found = judge(text, target("[0:1)"))
    for effect in found.effects:
        assert effect.bound / 100 < effect.relative < effect.bound < found.error.largest.upper * 20
        assert effect.rounding < 1e-15
    assert found.measured is None


def test_a_bound_of_another_polynomial_is_exceeded() -> None:
    """The errors told of degree 5, and the weights of degree 3: what a wrong proof would look like."""
    told = judge("fa4:5", target()).error
    for effect in effects(read_polynomial("1,0.6951,0.2276,0.0771").values, target(), told):
        assert effect.relative > 10 * effect.bound


@pytest.mark.parametrize(
    ("text", "range_", "base"),
    [
        ("1+x+x^2/2+x^3/6", "-0.34657359:0.34657359", "e"),
        ("1+x+x^2/2+x^3/6", "[0:0.1)", "e"),
        ("1-0.69*x+0.2*x^2", "[0:1)", "0.5"),
        ("1+2.3*x+2.6*x^2+2*x^3", "-0.25:0.25", "10"),
    ],
)
def test_any_range_and_base_is_reduced_to(text: str, range_: str, base: str) -> None:
    found = judge(text, target(range_, base))
    for effect in found.effects:
        assert effect.rounding < 1e-15
        assert 1e-7 < effect.relative < effect.bound


def test_arguments_are_brought_into_the_range() -> None:
    x = np.array([0.0, -0.25, -1.0, -1.5, -127.75, 1.0, 3.5])
    for range_, inside in (("0:1", (0.0, 1.0)), ("-0.5:0.5", (-0.5, 0.5)), ("-200:0", (-200.0, 0.0))):
        rest, shift = reduced(x, target(range_))
        assert ((rest >= inside[0]) & (rest <= inside[1])).all()
        np.testing.assert_array_equal(rest + shift, x)
        np.testing.assert_array_equal(shift[(x >= inside[0]) & (x <= inside[1])], 0.0)


def test_weights_that_may_be_zero_have_no_bound() -> None:
    found = judge("1-x", target("0:3"))
    assert found.shared == inf
    assert {effect.bound for effect in found.effects} == {inf}
    assert found.correct_bits == 0.0
    assert found.suffices == ()


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_suffices_lies_below_half_a_unit_in_the_last_place(name: str) -> None:
    unit = 2.0 ** -FORMATS[name].precision
    for largest, enough in ((unit, False), (float(np.nextafter(unit, 0.0)), True), (2 * unit, False)):
        found = Judgement("one", target(), between(-largest, largest / 2), None, ())
        assert (name in found.suffices) == enough
        assert (name in found.falls_short) != enough
    assert Judgement("one", target(), between(-unit, 0.0), None, ()).correct_bits == FORMATS[name].precision
