"""Mechanisms as functions of arrays: every part of a problem arrives, or is refused as the problem is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import verify
from verify.attention.variant import Variant
from verify.errors import InvalidRequestError
from verify.mechanisms import named_variant
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem

RNG = np.random.default_rng(1704)
Q, K, V = RNG.standard_normal((2, 2, 5, 3)), RNG.standard_normal((2, 1, 5, 3)), RNG.standard_normal((2, 1, 5, 4))

# Every part of a problem beside q, k, v and its name; those with arguments of their own stand first.
PARTS: dict[str, dict[str, Any]] = {
    "scale": {"scale": 0.3},
    "causal": {"causal": True},
    "mask": {"mask": RNG.random((5, 5)) < 0.7},
    "alignment": {"alignment": "bottom-right", "causal": True, "lengths": [5, 3]},
    "window": {"window": (1, 2)},
    "lengths": {"lengths": [5, 2]},
    "segments": {"segments": np.array([0, 0, 1, 1, 1])},
    "positions": {"positions": np.array([1, 0, 2, 4, 3]), "causal": True},
    "softcap": {"softcap": 0.5},
    "bias": {"bias": RNG.standard_normal((2, 1, 5))},
    "alibi_slopes": {"alibi_slopes": [0.5, 0.25]},
    "sinks": {"sinks": [0.5, -1.0]},
    "dropout_mask": {"dropout_mask": RNG.random((2, 5, 5)) < 0.7},
    "dropout": {"dropout_mask": RNG.random((2, 5, 5)) < 0.7, "dropout": 0.25},
    "q_descale": {"q_descale": [0.5, 4.0]},
    "k_descale": {"k_descale": 2.0},
    "v_descale": {"v_descale": 2.0},
}

FUNCTIONS: dict[str, tuple[Callable[..., Any], Variant]] = {
    "softmax": (verify.softmax_attention, named_variant("softmax/softmax")),
    "logexp": (partial(verify.logexp_attention, form="quadratic"), named_variant("logexp/quadratic")),
    "taylor": (partial(verify.taylor_attention, order=4, form="scores"), named_variant("taylor:order=4/scores")),
}

# What has no meaning without logits.
REFUSED = {"softmax": set(), "logexp": {"softcap", "bias", "alibi_slopes", "sinks"}, "taylor": set()}


def test_no_part_is_forgotten() -> None:
    assert PARTS.keys() == inspect.signature(Problem).parameters.keys() - {"q", "k", "v", "name"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_part_arrives(name: str) -> None:
    function, variant = FUNCTIONS[name]
    plain, refused = function(Q, K, V), set()
    for part, how in PARTS.items():
        if part == "scale" and name == "logexp":
            continue  # which has none
        problem = Problem(Q, K, V, **how)
        if variant.refusal(problem) is not None:
            refused.add(part)
            with pytest.raises(InvalidRequestError, match="expected"):
                function(Q, K, V, **how)
            continue
        found = function(Q, K, V, **how)
        np.testing.assert_array_equal(found, variant.run(problem, ARITHMETICS["float64"]).value, part)
        without = {key: x for key, x in how.items() if key != part}
        if part != "alignment":  # which must be given there
            other = function(Q, K, V, **without) if without else plain
            assert np.abs(found - other).max() > 1e-3, part
    assert refused == REFUSED[name]


@pytest.mark.parametrize("form", ["packed", "stream"])
def test_parts_and_options_of_a_form_are_told_apart(form: str) -> None:
    parts: dict[str, Any] = {"causal": True, "lengths": [5, 2], "v_descale": 2.0, "alignment": "top-left"}
    found = verify.taylor_attention(Q, K, V, order=3, form=form, side="key", memory_limit=1 << 30, **parts)
    truth = verify.reference(Problem(Q, K, V, **parts), 20, "taylor:order=3")
    # 20 features of numbers of the size of 1, in float64
    np.testing.assert_allclose(found, truth.value, rtol=0, atol=1e-12)


def test_what_is_no_part_is_refused() -> None:
    for function in (verify.softmax_attention, verify.logexp_attention):
        with pytest.raises(TypeError, match="windw"):
            function(Q, K, V, windw=3)
    with pytest.raises(InvalidRequestError, match="'windw'"):
        verify.taylor_attention(Q, K, V, order=3, windw=3)
    with pytest.raises(InvalidRequestError, match="window 3; expected two numbers"):
        verify.softmax_attention(Q, K, V, window=3)
