from __future__ import annotations

import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from verify.arithmetic import named_arithmetic
from verify.errors import InvalidRequestError
from verify.formats import FORMATS, Format

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
