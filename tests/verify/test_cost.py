from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from verify import cost
from verify.errors import InvalidRequestError

# d: features, state, FLOPs per token, break-even in memory and in FLOPs, at order 3 (SA, P = 4, d_v = d)
PUBLISHED = {
    8: (165, 1_485, 6_820, 93, 195),
    16: (969, 16_473, 71_364, 515, 1_065),
    32: (6_545, 215_985, 902_020, 3_375, 6_886),
    64: (47_905, 3_113_825, 12_738_308, 24_327, 49_183),
    128: (366_145, 47_232_705, 191_110_660, 184_503, 371_089),
}


@pytest.mark.parametrize(("head_size", "expected"), PUBLISHED.items())
def test_published_table(head_size: int, expected: tuple[int, ...]) -> None:
    row = cost.taylor_cost(head_size, 3)
    found = (row.features, row.state_elements, row.flops_per_token, row.kv_break_even, row.flop_break_even)
    assert found == expected
    assert row.terms == 4


@pytest.mark.parametrize("d", [1, 2, 5, 64, 128])
@pytest.mark.parametrize("d_v", [1, 3, 64])
@pytest.mark.parametrize("order", [0, 1, 2, 7, 15])
def test_closed_forms_are_the_published_ones(d: int, d_v: int, order: int) -> None:
    P = order + 1
    degrees = [comb(d + p - 1, p) for p in range(P)]
    assert cost.feature_count(d, order) == sum(degrees)
    assert [cost.degree_feature_count(d, p) for p in range(P)] == degrees
    assert cost.state_size(d, order, d_v) == (d_v + 1) * comb(d + P - 1, P - 1)  # SA (13)
    assert cost.flops_per_token(d, order, d_v) == sum((4 * d_v + 2 * p + 4) * m for p, m in enumerate(degrees))  # (14)
    closed = (4 * d_v + Fraction(2 * (P * d + 1), d + 1) + 2) * comb(d + P - 1, P - 1)  # (15)
    assert cost.flops_per_token(d, order, d_v) == closed
    assert cost.dense_feature_count(d, order) == sum(d**p for p in range(P))


def test_break_even_is_where_the_costs_meet() -> None:
    row = cost.taylor_cost(16, 3, 8)
    assert abs(row.state_elements - cost.kv_cache_size(row.kv_break_even, 16, 8)) <= (16 + 8) / 2
    per_token = cost.conventional_flops_per_token(1, 16, 8)
    assert abs(row.flops_per_token - per_token * row.flop_break_even) <= per_token / 2
    assert row.flop_break_even_script is None
    assert cost.taylor_cost(16, 3).flop_break_even_script == round(71_364 / (6 * 16))


def test_logexp_state() -> None:
    assert cost.logexp_state_size(64) == 64 * 65
    assert cost.logexp_state_size(64, 32) == 64 * 33


@pytest.mark.parametrize(("arguments", "message"), [((0, 3), "head size 0"), ((8, -1), "order -1")])
def test_refuses_what_has_no_cost(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        cost.taylor_cost(*arguments)
