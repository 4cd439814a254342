"""Every operation of every arithmetic against the correctly rounded exact one, element by element."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.cases import FORMS, run
from verify.errors import InvalidRequestError
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic, named_arithmetic
from verify.numbers.formats import Format
from verify.numbers.rounding import correctly_rounded
from verify.problem import Problem

every_arithmetic = pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS.keys())


def exact(value: Any) -> Fraction:
    return Fraction(float(value))


def numbers(format_: Format, seed: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Return numbers of the format from its subnormals to a quarter of its digits' range, both signs, and ties."""
    rng = np.random.default_rng(seed)
    spread = min(12, -format_.min_exponent + format_.precision - 1)
    values = rng.standard_normal(400) * 2.0 ** rng.integers(-spread, 5, 400)
    values[:4] = [format_.smallest, -3 * format_.smallest, 1.0, 1.0 + 2.0 ** (1 - format_.precision)]
    return format_.rounded(values).astype(dtype)


@every_arithmetic
@pytest.mark.parametrize("role", ["factors", "sums"])
@pytest.mark.parametrize(
    ("of_arrays", "of_fractions"),
    [
        (np.multiply, Fraction.__mul__),
        (np.add, Fraction.__add__),
        (np.subtract, Fraction.__sub__),
        (np.divide, Fraction.__truediv__),
    ],
)
def test_operations_are_correctly_rounded(
    arithmetic: Arithmetic, role: str, of_arrays: Callable[..., Any], of_fractions: Callable[..., Fraction]
) -> None:
    format_: Format = getattr(arithmetic, role)
    settle = arithmetic.as_factor if role == "factors" else arithmetic.as_sum
    one, other = (numbers(format_, seed, arithmetic.dtype) for seed in (70, 71))
    other = np.where(other == 0, arithmetic.dtype.type(1), other)
    with np.errstate(under="ignore"):
        found = settle(of_arrays(one, other)).astype(np.float64)
    expected = [correctly_rounded(of_fractions(exact(a), exact(b)), format_) for a, b in zip(one, other, strict=True)]
    np.testing.assert_array_equal(found, expected)


@every_arithmetic
def test_inputs_constants_and_outputs_are_rounded_once(arithmetic: Arithmetic) -> None:
    values = np.concatenate([np.random.default_rng(72).standard_normal(300), [1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-4]])
    for found, format_ in (
        (arithmetic.as_input(values), arithmetic.inputs),
        (arithmetic.as_constant(values), arithmetic.factors),
    ):
        assert found.dtype == arithmetic.dtype
        assert found.astype(np.float64).tolist() == [correctly_rounded(x, format_) for x in values.tolist()]
    carried = values.astype(arithmetic.dtype)
    found = arithmetic.as_output(carried)
    assert found.dtype == arithmetic.output.dtype
    expected = [correctly_rounded(float(x), arithmetic.output) for x in carried]
    assert found.astype(np.float64).tolist() == expected


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_narrow_sums_are_added_one_after_the_other(name: str) -> None:
    arithmetic = ARITHMETICS[name]
    rng = np.random.default_rng(73)
    left, right = (arithmetic.as_input(rng.standard_normal(shape)) for shape in ((2, 3, 9), (2, 9, 4)))
    found = arithmetic.product(left, right)
    started = arithmetic.as_input(rng.standard_normal((2, 3, 4)))
    added = started.copy()
    arithmetic.add_product(added, left, right)
    total, more = arithmetic.total(left), started[..., :1].copy()
    arithmetic.add_total(more, left)
    for place in np.ndindex(2, 3, 4):
        h, i, j = place
        sums = [0.0, float(started[place]), 0.0, float(started[h, i, 0])]
        for t in range(9):
            product = correctly_rounded(exact(left[h, i, t]) * exact(right[h, t, j]), arithmetic.sums)
            sums[:2] = [correctly_rounded(exact(x) + exact(product), arithmetic.sums) for x in sums[:2]]
            sums[2:] = [correctly_rounded(exact(x) + exact(left[h, i, t]), arithmetic.sums) for x in sums[2:]]
        assert [found[place], added[place], total[h, i, 0], more[h, i, 0]] == sums


@pytest.mark.parametrize("name", ["float16+float32", "bfloat16+float32", "float8_e4m3fn+float32"])
def test_products_of_narrow_factors_are_exact_in_float32(name: str) -> None:
    arithmetic = ARITHMETICS[name]
    one, other = (numbers(arithmetic.factors, seed, arithmetic.dtype) for seed in (74, 75))
    products = arithmetic.product(one[:, None], other[None, :])
    for i, j in np.random.default_rng(76).integers(0, 400, (500, 2)):
        assert exact(products[i, j]) == exact(one[i]) * exact(other[j])
    # and the sum of ones does not stop at 256 as in bfloat16
    ones = np.ones((1, 4096), dtype=arithmetic.dtype)
    assert arithmetic.total(ones).tolist() == [[4096.0]]
    assert ARITHMETICS["bfloat16"].total(ones).tolist() == [[256.0]]


@every_arithmetic
@pytest.mark.parametrize(("mechanism", "form"), FORMS)
def test_a_constant_v_comes_out_as_it_is(mechanism: str, form: str, arithmetic: Arithmetic) -> None:
    # numerator and Z take the same weights, so that only sums and the division round: (n + 2) and m s, and the output
    rng = np.random.default_rng(77)
    q, k = rng.standard_normal((2, 12, 3)) / 2
    problem = Problem(q, k, np.full((12, 2), 1.5))
    order = 2 if mechanism == "taylor" else None
    found = run(mechanism, form, problem, arithmetic, order).value.astype(np.float64)
    u, o = (2.0**-format_.precision for format_ in (arithmetic.sums, arithmetic.output))
    assert np.abs(found - 1.5).max() <= 1.5 * (2 * (2 * 12 + 13 + 1) * u + o)


def test_unknown_arithmetics() -> None:
    with pytest.raises(InvalidRequestError, match="one of float64, float32"):
        named_arithmetic("float7")


@every_arithmetic
def test_an_output_is_rounded_once_whatever_digits_it_comes_with(arithmetic: Arithmetic) -> None:
    # closer to a tie than any sums' format but float64 shows: rounded to that first, they would fall on the tie
    tie = 1.0 + 2.0**-arithmetic.output.precision
    values = np.array([tie + 2.0**-50, -tie - 2.0**-50, tie - 2.0**-50])
    expected = [correctly_rounded(x, arithmetic.output) for x in values.tolist()]
    assert arithmetic.as_output(values).astype(np.float64).tolist() == expected
