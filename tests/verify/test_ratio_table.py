from __future__ import annotations

import numpy as np
from flint import arb

from verify.bounds.logits import RatioTable


def test_a_function_that_may_be_negative_has_no_bound() -> None:
    table = RatioTable(lambda s: 1 + s, -2.0, 2.0)  # exp cut after order 1
    assert table.bound(-1.5, 1.0) == np.inf
    assert table.bound(-1.0, 1.0) == np.inf  # 0 at the end
    assert 0.0 < table.bound(0.0, 1.0) < 1.0


def test_weights_of_both_signs_leave_the_range_of_v() -> None:
    s, v = np.array([-1.5, 0.6]), np.array([0.0, 1.0])
    weights = 1 + s
    assert weights @ v / weights.sum() > 1.0
    assert RatioTable(lambda s: arb(1) + s, -1.5, 0.6).bound(-1.5, 0.6) == np.inf
