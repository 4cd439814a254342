from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from verify.attention import Cost, Variant
from verify.errors import InvalidRequestError
from verify.families.costs import (
    FeatureCost,
    conventional_flops_per_token,
    counts_of,
    kv_cache_size,
    multihead_cost,
)
from verify.families.polynomial.basis import degree_feature_count, dense_feature_count, feature_count
from verify.mechanisms import known, named_member
from verify.mechanisms.logexp.costs import logexp_state_size
from verify.mechanisms.power import POWER
from verify.mechanisms.taylor.costs import flops_per_token, state_size
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.problem import Problem


def taylor(order: int, head_size: int, value_size: int | None = None) -> FeatureCost:
    """Return what is published of Taylor attention."""
    return TAYLOR.counts(head_size, value_size, TAYLOR.member(order=order))


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
    row = taylor(3, head_size)
    found = (row.features, row.state_elements, row.flops_per_token, row.kv_break_even, row.flop_break_even)
    assert found == expected
    assert row.terms == 4


@pytest.mark.parametrize("d", [1, 2, 5, 64, 128])
@pytest.mark.parametrize("d_v", [1, 3, 64])
@pytest.mark.parametrize("order", [0, 1, 2, 7, 15])
def test_closed_forms_are_the_published_ones(d: int, d_v: int, order: int) -> None:
    P = order + 1
    degrees = [comb(d + p - 1, p) for p in range(P)]
    assert feature_count(d, order) == sum(degrees)
    assert [degree_feature_count(d, p) for p in range(P)] == degrees
    assert state_size(d, order, d_v) == (d_v + 1) * comb(d + P - 1, P - 1)  # SA (13)
    assert flops_per_token(d, order, d_v) == sum((4 * d_v + 2 * p + 4) * m for p, m in enumerate(degrees))  # (14)
    closed = (4 * d_v + Fraction(2 * (P * d + 1), d + 1) + 2) * comb(d + P - 1, P - 1)  # (15)
    assert flops_per_token(d, order, d_v) == closed
    assert dense_feature_count(d, order) == sum(d**p for p in range(P))


def test_break_even_is_where_the_costs_meet() -> None:
    row = taylor(3, 16, 8)
    assert abs(row.state_elements - kv_cache_size(row.kv_break_even, 16, 8)) <= (16 + 8) / 2
    per_token = conventional_flops_per_token(1, 16, 8)
    assert row.flops_per_token is not None
    assert row.flop_break_even is not None
    assert abs(row.flops_per_token - per_token * row.flop_break_even) <= per_token / 2
    assert row.flop_break_even_script is None
    assert taylor(3, 16).flop_break_even_script == round(71_364 / (6 * 16))


def test_logexp_state() -> None:
    assert logexp_state_size(64) == 64 * 65
    assert logexp_state_size(64, 32) == 64 * 33


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "head size 0; expected an integer of at least 1; give the size of one head"),
        ((8, -1), "order -1; expected an integer"),
        ((8, 3, 0), "value size 0; expected an integer of at least 1"),
    ],
)
def test_refuses_what_has_no_cost(arguments: tuple[int, ...], message: str) -> None:
    head_size, order, *value_size = arguments
    with pytest.raises(InvalidRequestError, match=message):
        taylor(order, head_size, *value_size)
    for function in (state_size, flops_per_token):
        with pytest.raises(InvalidRequestError, match=message):
            function(*arguments)


@pytest.mark.parametrize(
    ("name", "features", "flops"),
    [
        # to update and to read a state of 4 x 4 numbers, a multiplication and an addition for each; d_v divisions; of
        # each of the 8 components of q and k an exponential and an addition
        ("elu", 4, 4 * 16 + 3 + 8 * 2),
        # likewise 2 x 4 numbers; of q and of k: 4 to scale it, 7 for its square, 1 to halve that, and for each feature
        # 7 for an inner product, a subtraction and an exponential
        ("favor:features=2", 2, 4 * 8 + 3 + 2 * (4 + 7 + 1 + 2 * 9)),
        # the monomials of degree 2 alone; nobody has published the operations
        ("power:degree=2", 10, None),
    ],
)
def test_costs_of_features_by_hand(name: str, features: int, flops: int | None) -> None:
    member = named_member(name)
    row = member.mechanism.counts(4, 3, member)
    assert (row.features, row.state_elements, row.flops_per_token) == (features, 4 * features, flops)
    assert row.kv_break_even == (2 * 4 * features + 7) // 14
    assert row.flop_break_even == (None if flops is None else (2 * flops + 17) // 34)
    problem = Problem(np.ones((5, 4)), np.ones((5, 4)), np.ones((5, 3)))
    assert Variant(member, "stream").costs(problem) == Cost(features, 4 * features, flops)
    operations = Variant(member, "stream").how.operations
    assert flops is None or (operations is not None and operations(problem, member).flops == flops)


def test_conventional_attention_has_no_features_to_count() -> None:
    for name in ("softmax", "mean"):
        assert named_member(name).mechanism.counts(4, 3, named_member(name)) is None


def test_log_exp_attention_has_d_features() -> None:
    cost = counts_of(named_member("logexp"), 4, 3)
    assert cost is not None
    assert (cost.features, cost.state_elements, cost.flops_per_token) == (4, 16, None)
    assert cost.kv_break_even == 2  # 16 / 7, to the nearest token


def test_heads_of_a_layer_cost_one_head_each() -> None:
    row = multihead_cost(24, taylor(2, 8, 5))
    assert (row.heads, row.total_state_elements) == (3, 3 * 45 * 6)
    assert (row.total_flops_per_token, row.kv_cache_per_token) == (3 * flops_per_token(8, 2, 5), 24 + 3 * 5)
    assert multihead_cost(24, POWER.counts(8, 5, POWER.member())).total_flops_per_token is None
    for width, remedy in ((25, "take 24 or 32"), (7, "take 8")):
        with pytest.raises(InvalidRequestError, match=f"width {width} at head size 8, which does not .*; {remedy}"):
            multihead_cost(width, taylor(2, 8, 5))


def test_only_forms_of_a_paper_are_published() -> None:
    published = {f"{name}/{form.name}" for name in known() for form in known().mechanism(name).forms if form.published}
    assert published == {"softmax/softmax", "softmax/online", "taylor/packed", "taylor/stream"}
