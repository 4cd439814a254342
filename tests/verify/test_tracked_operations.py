"""What each operation of the running account passes on: no less than the worst there is, and no more."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from verify.families.tracked import Tracked, TrackedField
from verify.numbers.formats import FORMATS
from verify.numbers.precision import mpmath_precision

FIELD = TrackedField(FORMATS["float64"], 2.0**-53)

# The operation on tracked numbers, and on those of mpmath.
OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "x + y": (lambda x, y: x + y, lambda x, y: x + y),
    "x - y": (lambda x, y: x - y, lambda x, y: x - y),
    "3 - x": (lambda x, y: 3 - x, lambda x, y: 3 - x),
    "x y": (lambda x, y: x * y, lambda x, y: x * y),
    "x / y": (lambda x, y: x / y, lambda x, y: x / y),
    "3 / y": (lambda x, y: 3 / y, lambda x, y: 3 / y),
    "y^2": (lambda x, y: y**2, lambda x, y: y**2),
    "exp(x)": (lambda x, y: FIELD.exp(x), lambda x, y: mp.exp(x)),
    "sqrt(y y)": (lambda x, y: FIELD.sqrt(FIELD.number(abs(y.value), y.error)), lambda x, y: mp.sqrt(abs(y))),
    "max(x, 0)": (lambda x, y: FIELD.positive(x), lambda x, y: max(x, mpf(0))),
    "max(x, y)": (lambda x, y: FIELD.largest([x, y]), max),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("x", "y"), [(2.0, 3.0), (-2.0, 3.0), (1.25, -0.75), (-0.5, -4.0)])
@pytest.mark.parametrize(("off_x", "off_y"), [(2.0**-4, 2.0**-6), (2.0**-20, 2.0**-3), (0.0, 2.0**-5), (2.0**-7, 0.0)])
def test_the_worst_there_is_and_no_more(name: str, x: float, y: float, off_x: float, off_y: float) -> None:
    tracked, exact = OPERATIONS[name]
    found = tracked(FIELD.number(np.asarray(x), off_x), FIELD.number(np.asarray(y), off_y))
    with mpmath_precision(200):
        value = exact(mpf(x), mpf(y))
        # each operation is monotone in each operand here, so that the ends of the intervals are the worst
        ends = product((mpf(x) - off_x, mpf(x) + off_x), (mpf(y) - off_y, mpf(y) + off_y))
        worst = float(max(abs(exact(*end) - value) for end in ends))
        assert abs(mpf(float(found.value)) - value) <= float(found.doubt)
    # beyond what operands were off, an operation adds its own rounding: at most 8 of 2^-53 of results below 13
    rounding = 16 * 2.0**-53 * 13
    assert worst <= found.error
    if name == "max(x, y)":  # the one that is off more may not be the largest
        assert found.error <= max(off_x, off_y) + rounding
    elif name == "max(x, 0)":  # nor need x be above 0
        assert found.error <= off_x + rounding
    else:
        assert found.error <= worst + rounding


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_number_is_tracked_as_in_an_array(name: str) -> None:
    rng = np.random.default_rng(66)
    x, y = rng.standard_normal((2, 40))
    size = np.array([0.0, 1e-17, 1e-9, 0.1, 3.0])
    offs = [size[rng.integers(0, 5, 40)] for _ in range(4)]
    y[:3], x[3:6], offs[0][6], offs[3][7] = 0.0, 1e200, np.inf, np.nan
    with np.errstate(all="ignore"):
        together = OPERATIONS[name][0](FIELD.number(x, *offs[:2]), FIELD.number(y, *offs[2:]))
        for i in range(len(x)):
            one = OPERATIONS[name][0](
                FIELD.number(x[i], *(off[i] for off in offs[:2])), FIELD.number(y[i], *(off[i] for off in offs[2:]))
            )
            for part in ("value", "error", "doubt"):
                assert isinstance(getattr(one, part), float)
                np.testing.assert_array_equal(getattr(one, part), getattr(together, part)[i])


@pytest.mark.parametrize("name", ["float64", "float16"])
def test_constants_are_rounded_once_to_either_format(name: str) -> None:
    field = TrackedField(FORMATS[name], 2.0**-53)
    whole, third = field.tracked(3), field.ratio(Fraction(1, 3))
    assert (whole.value, whole.error, whole.doubt) == (3.0, 0.0, 0.0)
    assert abs(Fraction(float(third.value)) - Fraction(1, 3)) <= Fraction(float(third.doubt)) <= Fraction(1, 2**54)
    off = abs(Fraction(float(FORMATS[name].rounded(np.asarray(1 / 3)).astype(np.float64))) - Fraction(1, 3))
    most = Fraction(1, 3) / 2 ** (FORMATS[name].precision - 1) + Fraction(FORMATS[name].smallest)
    assert off <= Fraction(float(third.error)) <= most
    assert field.exact(65536.0).error == (0.0 if name == "float64" else np.inf)  # float16 ends at 65504


def test_what_may_be_divided_by_zero_has_no_bound() -> None:
    one = FIELD.number(np.ones(3))
    divisor = FIELD.number(np.array([1.0, 1.0, 1.0]), np.array([0.5, 1.0, 2.0]))
    assert np.isfinite((one / divisor).error).tolist() == [True, False, False]


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if "max" not in name])
def test_rounding_is_added_where_nothing_was_off(operation: str) -> None:
    # float16, worked out in float32: a rounding of the result to 11 bits
    field = TrackedField(FORMATS["float16"], 2.0**-24)
    x, y = field.number(np.asarray(1.5)), field.number(np.asarray(2.5))
    of_field: dict[str, Tracked] = {"exp(x)": field.exp(x), "sqrt(y y)": field.sqrt(y)}
    found = of_field[operation] if operation in of_field else OPERATIONS[operation][0](x, y)
    assert 2.0**-11 * abs(found.value) <= found.error <= 3 * 2.0**-11 * abs(found.value)
