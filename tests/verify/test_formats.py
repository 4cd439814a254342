from __future__ import annotations

import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.formats import FORMATS, Format
from verify.numbers.rounding import correctly_rounded

every_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS.keys())


def test_the_formats_are_there_after_importing_verify_alone() -> None:
    script = "import verify; print(verify.formats.FORMATS['bfloat16'].name)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "bfloat16"


@every_format
def test_agrees_with_what_its_numpy_type_says(format_: Format) -> None:
    info = ml_dtypes.finfo(format_.dtype)  # type: ignore[no-untyped-call] # the package annotates its types only
    assert format_.largest == float(info.max)
    assert 2.0**format_.min_exponent == float(info.smallest_normal)
    assert 2.0 ** (1 - format_.precision) == float(info.eps)
    assert format_.width == info.bits


@every_format
def test_numbers_of_a_format_are_those_that_rounding_leaves(format_: Format) -> None:
    rng = np.random.default_rng(65)
    kept = format_.rounded(rng.standard_normal(60) * 2.0 ** rng.integers(-30, 30, 60)).astype(np.float64)
    ends = [format_.largest, format_.smallest, 3 * format_.smallest, 2.0**format_.min_exponent, 0.0, -0.0]
    near = [2.5 * format_.smallest, format_.largest * 1.25, 0.75 * format_.smallest, 1.0 + 2.0**-format_.precision]
    for value in [*kept[np.isfinite(kept)].tolist(), *ends, *near, *rng.standard_normal(60).tolist()]:
        if math.isfinite(value):
            held = format_.rounded(np.asarray(value)).astype(np.float64) == value
            assert format_.holds(value) == held == format_.holds(-value)


@every_format
def test_steps_are_calls_of_nextafter(format_: Format) -> None:
    kind = format_.dtype.type
    smallest = 2.0 ** (format_.min_exponent - format_.precision + 1)
    for start in (0.0, -0.0, 1.0, -1.0, 1.5, smallest, 2.0**format_.min_exponent, -3 * smallest):
        value, count = kind(start), 9
        for _ in range(count):
            value = np.nextafter(value, kind(format_.largest))
        one, other = np.array([start]), np.array([float(value)])
        assert format_.steps(one, other).tolist() == format_.steps(other, one).tolist() == [count]
        assert format_.steps(one, one).tolist() == [0]


@every_format
def test_steps_across_the_whole_format(format_: Format) -> None:
    # from the largest to its opposite: the finite patterns of both signs but zero
    patterns = 2 ** (format_.width - 1)
    above = 2 ** (format_.precision - 1) if format_.infinity else 1  # infinity and NaNs, or the one NaN
    finite = patterns - above - 1
    ends = np.array([format_.largest])
    assert format_.steps(ends, -ends).tolist() == [float(2 * finite)]
    for special in (np.nan, np.inf, -np.inf, 2 * format_.largest if format_.width < 64 else np.inf):
        assert format_.steps(np.array([special]), ends).tolist() == [math.inf]


def test_unknown_names() -> None:
    with pytest.raises(InvalidRequestError, match="expected one of float64, float32"):
        named_arithmetic("float128")


HARD = [
    *(s * (1 + 2.0**-b + t * 2.0**-50) for b in (4, 8, 11, 24) for s in (1, -1, 2**-20) for t in (-1, 0, 1)),
    *(s * 2.0**e * (1 + t * 2.0**-50) for e in (-134, -133, -150, -10, -24, -25) for s in (1, 1.5) for t in (-1, 0, 1)),
    *(464.0, 463.99, 465.0, 65519.99, 65520.0, 3.4e38, 3.3961e38, 1e39, -1e300, 0.0, -0.0, 5e-324, math.inf, -math.inf),
]


@every_format
def test_float64_is_rounded_once(format_: Format) -> None:
    # 1 + 2^-8 + 2^-50 lies above the tie of bfloat16, and on it once it has been through float32
    values = np.concatenate([HARD, np.random.default_rng(42).standard_normal(500), [math.nan]])
    found = format_.rounded(values).astype(np.float64)
    expected = [correctly_rounded(value, format_) for value in values.tolist()]
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(found)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(np.array(expected)[numbers]))
    with np.errstate(over="ignore", under="ignore"):
        singles = values.astype(np.float32)
    np.testing.assert_array_equal(
        format_.rounded(singles).astype(np.float64), [correctly_rounded(float(x), format_) for x in singles]
    )
