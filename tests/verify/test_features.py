"""Packed features as they are worked out, block by block: their coefficients, their slices, the ends of formats."""

from __future__ import annotations

import numpy as np
import pytest

from verify.families.polynomial.basis import each_degree, exponent_factorials
from verify.families.polynomial.features import FACTORED_ROWS, FeatureMap, factored_slices
from verify.numbers.arithmetic import ARITHMETICS


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("formed", [False, True])
def test_features_carry_their_share_of_the_coefficients(share: float, formed: bool) -> None:
    # head size 24, order 3: slices long enough to be left as products, which the other tests here are too small for
    x = np.random.default_rng(216).standard_normal((2, 5, 24))
    blocks = FeatureMap(ARITHMETICS["float64"], 2, 24, 3, 5, formed=formed).blocks(x, share)
    found = np.empty((2, 2925, 5))
    factored = 0
    for block in blocks:
        factored += block.factor is not None
        found[:, block.rows] = block.features if block.factor is None else block.features * block.factor[:, None]
    assert (factored > 0) == (not formed)
    factorials = np.concatenate(list(exponent_factorials(24, 3))).astype(np.float64)
    for head in range(2):
        expected = np.concatenate(list(each_degree(x[head].T, 3))) / factorials[:, None] ** share
        np.testing.assert_allclose(found[head], expected, rtol=8 * 2.0**-53, atol=0)


def watched(name: str, token: list[float], order: int) -> tuple[int, int]:
    """Return how many features of one token overflow and underflow."""
    policy = ARITHMETICS[name]
    features = FeatureMap(policy, 1, len(token), order, 1, watch=True)
    for _ in features.blocks(np.array([[token]], dtype=policy.dtype)):
        pass
    return features.overflowed, features.underflowed


def test_features_at_the_ends_of_their_format() -> None:
    # float16: normal from 2**-14, finite up to 65504
    assert watched("float16", [2.0**-7], 2) == (0, 0)
    assert watched("float16", [2.0**-7 * (1 - 2.0**-11)], 2) == (0, 1)
    assert watched("float16", [-(2.0**-7), 2.0**-7], 2) == (0, 0)
    assert watched("float16", [255.875], 2) == (0, 0)  # its square is 65472.02, and 65472 is a number
    assert watched("float16", [256.0], 2) == (1, 0)
    assert watched("float32", [2.0**-63], 2) == (0, 0)
    assert watched("float32", [2.0**-63 * (1 - 2.0**-24)], 2) == (0, 1)


def test_features_of_zeros_do_not_underflow() -> None:
    for name in ("float32", "float16", "bfloat16+float32"):
        assert watched(name, [0.0, 0.0], 3) == (0, 0)
        assert watched(name, [0.0, 1.0], 3) == (0, 0)
    # 2**-26 is rounded to zero, once: its product with the token has a factor of zero
    assert watched("float16", [2.0**-13], 3) == (0, 1)


def test_slices_are_left_as_products_from_the_length_that_is_counted() -> None:
    # at degree 2 the slice of last index j has j + 1 rows: with as many components as FACTORED_ROWS, one is that long
    for size, expected in ((FACTORED_ROWS, [FACTORED_ROWS]), (FACTORED_ROWS - 1, [])):
        x = np.random.default_rng(224).standard_normal((1, 1, size))
        blocks = FeatureMap(ARITHMETICS["float64"], 1, size, 2, 1).blocks(x)
        found = [block.rows.stop - block.rows.start for block in blocks if block.factor is not None]
        assert found == factored_slices(size, 2, by_exponent=False) == expected
