"""What tests of one's own call: assert_attention_close, cases, and the fixtures for pytest."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.check.judgement import Verdict
from verify.errors import InvalidRequestError
from verify.problem import Problem
from verify.testing import AttentionCase, assert_attention_close, cases

Array = np.ndarray[Any, np.dtype[Any]]


def attention(q: Array, k: Array, v: Array, scale: float | None = None) -> Array:
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    logits = q @ k.swapaxes(-1, -2) * q.dtype.type(factor)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights @ v / weights.sum(axis=-1, keepdims=True))


def unscaled(q: Array, k: Array, v: Array) -> Array:
    return attention(q, k, v, 1.0)


@pytest.mark.parametrize("case", cases("sharp"), ids=str)
def test_each_case_is_a_test(case: AttentionCase) -> None:
    assert case.verdict(attention) == Verdict.PASSED
    case.check(attention)
    assert case.reason
    with pytest.raises(AssertionError, match=r"rows are off"):
        case.check(unscaled)


def test_the_fixture_has_the_cases(attention_cases: list[AttentionCase]) -> None:
    assert [str(case) for case in attention_cases] == [str(case) for case in cases("quick")]


def test_a_test_may_take_each_case(attention_case: AttentionCase) -> None:
    assert attention_case.verdict(attention, arithmetic="float64") in (Verdict.PASSED, Verdict.LEFT_OUT)


def test_what_is_not_decided_is_skipped_not_green() -> None:
    mask = next(case for case in cases("quick") if str(case) == "mask")
    with pytest.raises(SkipTest, match="left out: the function does not take mask"):
        mask.check(attention)
    narrow = next(case for case in cases("quick") if str(case) == "logits to 50")
    with pytest.raises(SkipTest, match=r"undecidable: .* cannot be told apart"):
        narrow.check(
            lambda q, k, v: (1.3 * attention(q.astype("f4"), k.astype("f4"), v.astype("f4"))).astype(q.dtype),
            arithmetic="bfloat16",
        )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 40), st.sampled_from([4, 16]))
def test_problems_that_hypothesis_draws(seed: int, queries: int, keys: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((1, 2, n, size)) for n in (queries, keys, keys))
    problem = Problem(q, k, v, scale=0.3)
    assert_attention_close(attention, problem)
    with pytest.raises(AssertionError):
        assert_attention_close(lambda query, key, value, scale=None: attention(query, key, value), problem)


def test_what_a_function_is_not_told_is_refused() -> None:
    q = np.ones((1, 1, 3, 4))
    for problem, said in (
        (Problem(q, q, q, causal=True), "causal"),
        (Problem(q, q, q, mask=np.eye(3, dtype=bool)), "a mask"),
        (Problem(q, q, q, softcap=2.0), "a soft cap"),
        (Problem(q, q, q, sinks=[0.0]), "sinks"),
        (Problem(np.ones((1, 2, 3, 4)), q, q), "fewer heads"),
        (Problem(q, q, q, alibi_slopes=[1.0]), "slopes"),
        (Problem(q[0, 0], q[0, 0], q[0, 0]), "axes"),
    ):
        with pytest.raises(InvalidRequestError, match=said):
            assert_attention_close(attention, problem)


def test_what_the_format_does_not_hold_is_refused_and_not_rounded() -> None:
    """The function would be asked another problem than its answer is held against."""
    q = np.ones((1, 1, 3, 4))
    with pytest.raises(InvalidRequestError, match="bias of problem, which float32 does not hold"):
        assert_attention_close(lambda q, k, v, bias=None: q, Problem(q, q, q, bias=np.full((3, 3), 0.1)))
    with pytest.raises(InvalidRequestError, match="sinks of problem, which float32 does not hold"):
        assert_attention_close(lambda q, k, v, sinks=None: q, Problem(q, q, q, sinks=[0.1]))
    two = np.ones((2, 1, 3, 4))
    with pytest.raises(InvalidRequestError, match="differ by sequence"):
        assert_attention_close(lambda q, k, v, sinks=None: q, Problem(two, two, two, sinks=[[0.0], [1.0]]))


def test_a_function_that_is_causal_unless_told_is_told() -> None:
    def by_default(query: Array, key: Array, value: Array, causal: bool = True) -> Array:
        logits = query @ key.swapaxes(-1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
        logits = np.where((np.tri(*logits.shape[-2:]) > 0) | (not causal), logits, -np.inf)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(weights @ value / weights.sum(axis=-1, keepdims=True))

    assert_attention_close(by_default, suite="sharp")


def test_what_tells_nothing_is_no_pass() -> None:
    q = np.ones((1, 1, 3, 4))
    with pytest.raises(AssertionError, match="nothing tells right from wrong"):
        assert_attention_close(attention, Problem(np.zeros_like(q), q, q))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="a function"):
        assert_attention_close(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="without jax"):
        assert_attention_close(attention, framework="jax")
