from __future__ import annotations

import numpy as np
import pytest

from verify.arithmetic import named_arithmetic
from verify.errors import InvalidRequestError
from verify.formats import FORMATS, number_format


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS.keys())
def test_agrees_with_numpy(format_: object) -> None:
    assert isinstance(format_, type(FORMATS["float64"]))
    info = np.finfo(format_.dtype)
    assert format_.largest == float(info.max)
    assert 2.0**format_.min_exponent == float(info.smallest_normal)
    assert format_.width == info.bits
    # numpy's spacing, an independent account of the same thing, at exponents all over the range
    rng = np.random.default_rng(3)
    values = np.ldexp(rng.uniform(1, 2, 500), rng.integers(format_.min_exponent - 5, -format_.min_exponent, 500))
    values = np.concatenate([values, [0.0, 1.0, 2.0, 2.0**format_.min_exponent]]).astype(format_.dtype)
    spacing = np.abs(np.spacing(values)).astype(np.float64)
    np.testing.assert_array_equal(format_.ulp(-values.astype(np.float64)), spacing)


def test_unknown_names() -> None:
    with pytest.raises(InvalidRequestError, match="expected one of float64, float32"):
        number_format("float128")
    with pytest.raises(InvalidRequestError, match="expected one of float64, float32"):
        named_arithmetic("float128")
