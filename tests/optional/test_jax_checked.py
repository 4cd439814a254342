"""jax's attention, and softmax written in jax, put to the suites: what passes, and why the rest does not.

On a CPU, jax takes subnormal numbers for zero, inputs and results alike: cases of tiny values fail.  Its
dot_product_attention hides keys by a large negative number, so that rows that see no key get the mean of all values,
and takes softmax in float32 whatever the arrays are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from verify.check.judgement import Verdict
from verify.check.run import Asked, check_function
from verify.isolated.isolation import Target
from verify.testing import cases

jax: Any = pytest.importorskip("jax", reason="jax is not installed: make jax runs these tests")
jax.config.update("jax_enable_x64", True)

TAKES = {"lengths": "key_value_seq_lengths", "window": "local_window_size"}
LIBRARY = {"layout": "bshd", "grouped": True, "takes": TAKES}


@partial(jax.jit, static_argnames=("is_causal", "enable_gqa"))
def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    xp, wide = jax.numpy, jax.numpy.promote_types(query.dtype, "float32")
    groups = query.shape[-3] // key.shape[-3]
    key, value = (xp.repeat(x, groups, axis=-3).astype(wide) for x in (key, value))
    logits = xp.einsum("...qd,...kd->...qk", query.astype(wide), key)
    logits = logits * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        logits = xp.where(xp.tril(xp.ones(logits.shape[-2:], bool)), logits, -xp.inf)
    if attn_mask is not None:
        logits = xp.where(attn_mask, logits, -xp.inf) if attn_mask.dtype == bool else logits + attn_mask
    return xp.einsum("...qk,...kd->...qd", jax.nn.softmax(logits, axis=-1), value).astype(query.dtype)


def failed(function: Any, suite: str, **how: Any) -> set[str]:
    """Return the cases that fail; all others but a few that cannot tell right from wrong are passed or left out."""
    found: dict[str, Verdict] = {}
    for case in cases(suite):
        try:
            found[str(case)] = case.verdict(function, framework="jax", **how)
        except AssertionError:
            found[str(case)] = Verdict.FAILED
    assert list(found.values()).count(Verdict.UNDECIDABLE) < 4
    return {name for name, verdict in found.items() if verdict == Verdict.FAILED}


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16+float32", "float64"])
def test_softmax_in_jax_passes_but_for_tiny_values(arithmetic: str) -> None:
    assert failed(attention, "quick", arithmetic=arithmetic) == {"tiny v"}


def test_gradients_in_jax_pass() -> None:
    assert failed(attention, "quick", backward=True) == set()


@pytest.mark.parametrize(
    ("arithmetic", "suite", "expected"),
    [
        ("float32", "quick", {"tiny v", "empty rows"}),
        ("bfloat16+float32", "sharp", set()),
    ],
)
def test_jax_has_attention_that_passes_but_for_tiny_values_and_empty_rows(
    arithmetic: str, suite: str, expected: set[str]
) -> None:
    assert failed(jax.nn.dot_product_attention, suite, arithmetic=arithmetic, **LIBRARY) == expected


def test_subnormal_numbers_are_zero_in_jax() -> None:
    """That is what is wrong with tiny values: their products with weights are subnormal numbers."""
    for kind in (np.float32, np.float64):
        small = np.finfo(kind).smallest_normal
        assert small * kind(0.25) > 0
        assert jax.jit(lambda x, y: x * y)(small, kind(0.25)) == 0


def test_a_row_that_sees_no_key_is_the_mean_of_the_values_there() -> None:
    rng = np.random.default_rng(3)
    q, k, v = (jax.numpy.asarray(x) for x in rng.standard_normal((3, 1, 4, 1, 8)))
    hidden = jax.numpy.zeros((1, 1, 4, 4), bool)
    found = jax.nn.dot_product_attention(q, k, v, mask=hidden)
    np.testing.assert_allclose(found, np.broadcast_to(v.mean(1, keepdims=True), v.shape), rtol=1e-6)


def test_its_float64_is_float32_inside_and_that_is_said() -> None:
    """In a process of its own, as the command line has it, with numbers of 64 bits switched on there."""
    target = Target("jax.nn:dot_product_attention", "jax")
    checked = check_function(Asked(target, "sharp", arithmetic="float64", layout="bshd"))
    assert len(checked.of(Verdict.FAILED)) == 9
    assert checked.cause is not None
    assert "as far off as float32" in checked.cause[0]
    assert check_function(Asked(target, "sharp", arithmetic="bfloat16+float32", layout="bshd")).passed


def test_a_scale_that_is_off_fails() -> None:
    def wrong(query: Any, key: Any, value: Any) -> Any:
        return jax.nn.dot_product_attention(query, key, value, scale=1.1 * query.shape[-1] ** -0.5)

    assert len(failed(wrong, "sharp", layout="bshd")) == 9
