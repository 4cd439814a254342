"""What the arguments of torch's scaled_dot_product_attention mean here, by plain mpmath; tests/optional asks torch."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from mpmath import mp

from tests.sdpa import BITS, arguments, meaning
from verify import Problem
from verify.errors import InvalidRequestError
from verify.numbers.precision import mpmath_precision
from verify.truth import Reference, reference


def outside(truth: Reference, expected: Any) -> int:
    """Return how many expected values lie outside their ball; NaN does."""
    with mpmath_precision(BITS):
        centres = truth.to_mpf()
        assert centres.shape == expected.shape
        return sum(
            not abs(centres[place] - expected[place])
            <= mp.mpf(float(truth.radius[place])) + abs(expected[place]) * mp.mpf(2) ** -100
            for place in np.ndindex(*expected.shape)
        )


@pytest.mark.parametrize("part", range(4))
def test_arguments_mean_what_the_documentation_says(part: int) -> None:
    for seed in range(part * 50, (part + 1) * 50):
        given = arguments(seed)
        truth = reference(Problem.from_sdpa(**given), 25)
        assert outside(truth, meaning(**given)) == 0, seed


def test_the_arguments_have_everything_in_them() -> None:
    drawn = [arguments(seed) for seed in range(200)]
    causal = [np.sign(x["query"].shape[-2] - x["key"].shape[-2]) for x in drawn if "is_causal" in x]
    assert all(causal.count(sign) > 5 for sign in (-1, 0, 1))
    masks = [x["attn_mask"] for x in drawn if "attn_mask" in x]
    assert sum(mask.dtype == np.bool_ for mask in masks) > 10
    assert sum(bool(np.isinf(mask).any()) for mask in masks) > 5
    assert sum(bool((mask < -1e30).any() and np.isfinite(mask).all()) for mask in masks) > 5
    assert {x["query"].ndim for x in drawn} == {2, 3, 4, 5}
    assert sum(x["query"].shape[-3:-2] != x["key"].shape[-3:-2] for x in drawn) > 30
    assert {x.get("scale") for x in drawn} == {None, 1.0, 0.3, 0.5, -0.5, 0.0}
    nothing = [x for x in drawn if not Problem.from_sdpa(**x).attended_rows.all()]
    assert len(nothing) >= 5


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (4, 4)])
def test_is_causal_aligns_at_the_top_left(shape: tuple[int, int]) -> None:
    # equal logits: row i is the mean of values 0 .. i, whatever the lengths, and so i / 2, exactly
    n_q, n_k = shape
    q, k, v = np.zeros((n_q, 1)), np.zeros((n_k, 1)), np.arange(float(n_k))[:, None]
    found = reference(Problem.from_sdpa(q, k, v, is_causal=True), 20).value
    assert found.ravel().tolist() == [min(i, n_k - 1) / 2 for i in range(n_q)]


def test_numbers_are_added_and_booleans_say_what_is_seen() -> None:
    q, k, v = np.zeros((2, 1)), np.zeros((3, 1)), np.array([[1.0], [2.0], [4.0]])
    masks = [np.array([[True, False, True], [False, False, False]]), np.array([[0.0, -np.inf, 0.0], [-np.inf] * 3])]
    for mask in (*masks, masks[1].astype(np.float32), masks[1].astype(ml_dtypes.bfloat16)):
        problem = Problem.from_sdpa(q, k, v, attn_mask=mask)
        assert reference(problem, 20).value.ravel().tolist() == [2.5, 0.0]
    logs = np.log([[1.0, 2.0, 5.0]])  # weights 1, 2, 5 but for what log is off: (1 + 4 + 20) / 8
    assert reference(Problem.from_sdpa(q, k, v, attn_mask=logs), 20).value == pytest.approx(3.125, rel=1e-14)


def test_wrong_meanings_are_noticed() -> None:
    noticed = {"bottom-right": 0, "interleaved": 0, "unscaled": 0, "nan": 0}
    for seed in range(60):
        given = arguments(seed)
        problem = Problem.from_sdpa(**given)
        expected, heads = meaning(**given), given["query"].shape[-3:-2]
        if problem.alignment is not None:
            noticed["bottom-right"] += outside(reference(problem.but(alignment="bottom-right"), 25), expected) > 0
        if heads != given["key"].shape[-3:-2] and given["key"].shape[-3] > 1:
            order = np.arange(heads[0]).reshape(given["key"].shape[-3], -1).T.ravel()
            moved = reference(problem.but(q=problem.q[..., order, :, :]), 25)
            noticed["interleaved"] += outside(moved, expected) > 0
        if problem.keys > 1 and problem.head_size > 1 and "scale" not in given:
            noticed["unscaled"] += outside(reference(problem.but(scale=1.0), 25), expected) > 0
        noticed["nan"] += outside(reference(problem, 25), np.full(expected.shape, mp.nan)) == expected.size
    assert noticed["nan"] == 60
    assert min(noticed.values()) > 5


def test_what_torch_refuses_or_leaves_to_chance_is_refused() -> None:
    q, k = np.ones((4, 2, 3)), np.ones((2, 2, 3))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"dropout_p": 0.1}, "dropout_p 0.1, which drops at random; expected 0"),
        ({"dropout_p": None}, "dropout_p None"),
        ({"dropout_p": float("nan")}, "dropout_p nan"),
        ({"dropout_p": np.zeros(2)}, "dropout_p array"),
        (
            {"is_causal": True, "attn_mask": np.ones((2, 2), bool)},
            "is_causal and an attn_mask; expected one of the two",
        ),
        ({"is_causal": 2}, "is_causal 2; expected True or False"),
        ({"enable_gqa": "yes"}, "enable_gqa 'yes'; expected True or False"),
        ({"query": q}, "4 heads of queries and 2 of keys; expected as many, without enable_gqa"),
        ({"query": np.ones((3, 2, 3)), "enable_gqa": True}, "leading dimensions that disagree"),
        ({"value": np.ones((1, 2, 3))}, "k and v that disagree"),
        ({"attn_mask": np.ones((2, 2), int)}, "an attn_mask of type int64, which may mean either"),
        ({"attn_mask": np.ones((2, 2), np.uint8)}, "give attn_mask == 1 where 1 stands for seen"),
        ({"attn_mask": np.full((2, 2), np.nan)}, "bias holds nan"),
        ({"attn_mask": np.ones((3, 2), bool)}, "mask of shape [3, 2]"),
        ({"attn_mask": "causal"}, "bias of type <U6"),
        ({"scale": float("inf")}, "scale inf"),
    ]
    for changes, message in refused:
        with pytest.raises(InvalidRequestError, match=re.escape(message)):
            Problem.from_sdpa(**({"query": k, "key": k, "value": k} | changes))
    assert Problem.from_sdpa(q, k, k, enable_gqa=True, dropout_p=0).heads == 4
