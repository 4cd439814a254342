from __future__ import annotations

import math

import numpy as np
import pytest

from verify.arithmetic import named_arithmetic
from verify.errors import InvalidRequestError
from verify.formats import FORMATS, Format

every_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS.keys())


@every_format
def test_agrees_with_numpy(format_: Format) -> None:
    info = np.finfo(format_.dtype)
    assert format_.largest == float(info.max)
    assert 2.0**format_.min_exponent == float(info.smallest_normal)
    assert 2.0 ** (1 - format_.precision) == float(info.eps)
    assert format_.width == info.bits


@every_format
def test_steps_are_calls_of_nextafter(format_: Format) -> None:
    kind = format_.dtype.type
    starts = [0.0, -0.0, 1.0, -1.0, 1.5, float(np.finfo(kind).smallest_subnormal), 2.0**format_.min_exponent, -1e-30]
    for start in starts:
        value, count = kind(start), 37
        for _ in range(count):
            value = np.nextafter(value, kind(np.inf))
        one, other = np.array([start]), np.array([float(value)])
        assert format_.steps(one, other).tolist() == format_.steps(other, one).tolist() == [count]
        assert format_.steps(one, one).tolist() == [0]


@every_format
def test_steps_across_the_whole_format(format_: Format) -> None:
    # every finite number and back: twice the finite patterns of one sign, zero once
    finite = (2.0 ** (format_.width - format_.precision) - 1) * 2.0 ** (format_.precision - 1) - 1
    ends = np.array([format_.largest])
    assert format_.steps(ends, -ends).tolist() == [2 * finite]
    for special in (np.nan, np.inf, -np.inf, 2 * format_.largest if format_.name == "float32" else np.inf):
        assert format_.steps(np.array([special]), ends).tolist() == [math.inf]


def test_unknown_names() -> None:
    with pytest.raises(InvalidRequestError, match="expected one of float64, float32"):
        named_arithmetic("float128")
