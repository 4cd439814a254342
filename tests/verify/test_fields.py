"""Every kind of numbers does the same with a formula."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.families.rounded import Rounded, RoundedField
from verify.families.tracked import TrackedField
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.fields import BallField, FloatField, MpField, RationalField
from verify.numbers.formats import FORMATS
from verify.numbers.precision import flint_precision, mpmath_precision

FIELDS: dict[str, Any] = {
    "balls": BallField(),
    "mpmath": MpField(),
    "rationals": RationalField(64),
    "float64": FloatField(),
    "rounded": RoundedField(ARITHMETICS["float64"], "sums"),
    "tracked": TrackedField(FORMATS["float64"], 2.0**-53),
}


def number(x: Any) -> float:
    """Return a number of any field, up to its last digits."""
    if hasattr(x, "low"):
        return float((x.low + x.high) / 2)
    if hasattr(x, "mid"):
        return float(x.mid())
    if isinstance(x, Rounded):
        x = FIELDS["rounded"].array(x, ())
    return float(np.asarray(getattr(x, "value", x), dtype=float))


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_formula_may_do(name: str) -> None:
    f = FIELDS[name]
    with flint_precision(200), mpmath_precision(200):
        one, three, two = (f.exact(x) for x in (1.0, -3.0, 2.0))
        assert number(f.sum([one, three, two])) == 0.0
        assert number(f.sum([])) == 0.0
        assert number(f.dot([one, three], [two, two])) == -4.0
        assert number(f.positive(three)) == 0.0
        assert number(f.positive(two)) == 2.0
        assert number(f.ratio(Fraction(3, 4))) == 0.75
        assert number(f.sqrt(f.exact(4.0))) == pytest.approx(2.0, rel=1e-15)
        assert number(f.exp(two)) == pytest.approx(np.exp(2.0), rel=1e-15)
        assert number(f.scale(None, 4)) == pytest.approx(0.5, rel=1e-15)
        assert number(f.scale(-0.25, 4)) == -0.25
        # near the largest: what is subtracted before exp, so that nothing overflows
        assert number(f.largest([one, three, two])) == pytest.approx(2.0)
        assert number(f.largest([three])) == pytest.approx(-3.0)
        assert number(one + three * two / 4 - 1) == -1.5
        assert number(2 - three) == 5.0
        assert number(1 / two) == 0.5
        assert number(three**2) == 9.0


@pytest.mark.parametrize("name", ["float64", "balls", "mpmath"])
def test_the_largest_of_nothing_is_zero(name: str) -> None:
    assert number(FIELDS[name].largest([])) == 0.0
